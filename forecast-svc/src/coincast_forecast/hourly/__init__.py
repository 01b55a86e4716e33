"""Forecasts by the hour: hourly histories, the version of the hourly model, and the answers."""
