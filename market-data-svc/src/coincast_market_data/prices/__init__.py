"""Spot prices: cached a coin and currency at a time, fetched in batches."""
