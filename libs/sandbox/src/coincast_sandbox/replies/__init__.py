"""CoinGecko's documents, one file a family of paths: from the market to plain JSON values."""
