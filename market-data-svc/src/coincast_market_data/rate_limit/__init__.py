"""Rate limiter for upstream calls, shared by all replicas through Redis."""
