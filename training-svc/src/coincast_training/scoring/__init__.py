"""Prediction scoring: consume the forecast log, score matured forecasts, compare experiment variants."""
