"""The way to CoinGecko: plans, one client, its errors, retries, and the clock of the data."""
