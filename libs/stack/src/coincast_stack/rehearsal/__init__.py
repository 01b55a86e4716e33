"""Rehearse the first minutes of a start on CoinGecko, with a plan's limits and a proxied sandbox."""
