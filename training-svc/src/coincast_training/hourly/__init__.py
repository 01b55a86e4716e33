"""The hourly model of the next 48 hours: its data, training and walk-forward evaluation."""
