"""Backtests: walk forward with refits, apply strategies after costs, write a report."""
