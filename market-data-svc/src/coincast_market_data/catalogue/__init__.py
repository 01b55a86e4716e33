"""The catalogue of coins and currencies, with search and suggestions."""
