"""Pass-through of CoinGecko's documents in their own form, cached and sanitised."""
