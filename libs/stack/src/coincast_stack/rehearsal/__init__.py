"""Rehearse the first minutes on CoinGecko: a plan's limits, and a proxy that hides the sandbox."""
