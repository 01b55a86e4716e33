"""Two-level cache: memory over Redis, with freshness windows for each kind of data."""
