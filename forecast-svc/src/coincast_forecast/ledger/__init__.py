"""Where served forecasts are written down: a Redis stream, and this machine's disk while Redis is away."""
