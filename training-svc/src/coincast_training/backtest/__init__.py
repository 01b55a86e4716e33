"""Backtests: walk forward with refits, simulate strategies after costs, write a report."""
