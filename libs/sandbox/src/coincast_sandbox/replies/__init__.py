"""CoinGecko's replies as plain JSON values, one module for each family of paths."""
