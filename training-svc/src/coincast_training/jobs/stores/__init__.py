"""Job stores: Redis in production, in memory for commands and tests."""
