"""Scores of forecasts, with metrics of well-kept libraries where they exist."""
