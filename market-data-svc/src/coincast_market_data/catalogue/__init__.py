"""Coins and currencies that exist, and search among them."""
