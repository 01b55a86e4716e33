"""CoinGecko documents passed through unchanged in shape, cached and sanitised."""
