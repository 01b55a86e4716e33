"""CoinGecko's replies as JSON values, one module for each group of paths."""
