"""Daily candles from market-data-svc, cached per coin and closed day."""
