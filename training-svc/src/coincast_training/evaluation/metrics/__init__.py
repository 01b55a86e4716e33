"""What forecasts were worth, by metrics of well-kept libraries where they exist."""
