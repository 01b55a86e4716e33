"""The model of the next 48 hours: its data, its fit, its walk-forward evaluation."""
