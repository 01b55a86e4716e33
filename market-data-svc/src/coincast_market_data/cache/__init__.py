"""The cache: a small layer in the process over Redis, with windows of freshness for each kind of data."""
