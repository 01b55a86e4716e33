"""Scores of forecasts, by metrics of established libraries where they exist."""
