"""CoinGecko as seen before the services start: whether it is used, and why it cannot be had."""
