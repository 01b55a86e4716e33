"""A simulated CoinGecko API that replays candles or simulates a market, and injects faults."""
