"""Scores of forecasts; established libraries compute them if they have the metric."""
