"""Market data that outlives its upstream: cache, batches, quota, breakers, archive."""
