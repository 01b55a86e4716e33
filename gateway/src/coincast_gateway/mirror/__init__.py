"""CoinGecko's paths under /api/v3, so that its clients work by a change of address alone."""
