"""Job stores: Redis in production, memory in tests."""
