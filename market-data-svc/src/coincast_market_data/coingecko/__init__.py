"""CoinGecko client: plans, HTTP, parsing, error mapping, retries, circuit breakers."""
