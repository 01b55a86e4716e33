"""A CoinGecko-compatible API under /api/v3, so that CoinGecko clients work after a change of base URL."""
