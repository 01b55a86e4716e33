"""Walk-forward evaluation: what every model, baseline and peer forecast day by day, and what it was worth."""
