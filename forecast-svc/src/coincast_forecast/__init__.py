"""Serves forecasts from versioned artifacts."""
