"""Scoring of served forecasts: store the ledger, score forecasts with an outcome, compare variants."""
