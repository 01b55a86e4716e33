"""Hourly forecasts: hourly histories, versions of the hourly model, and the service."""
