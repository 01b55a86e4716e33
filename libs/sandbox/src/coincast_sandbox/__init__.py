"""A stand-in for CoinGecko: replays candles or simulates a market, and injects faults."""
