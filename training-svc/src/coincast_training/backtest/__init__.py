"""Backtests: walk-forward with refits, strategies after costs, a report."""
