"""Spot prices: cached by coin and currency, fetched in batches."""
