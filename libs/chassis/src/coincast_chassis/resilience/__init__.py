"""Circuit breaker and request coalescing."""
