"""Background jobs: cache warm-up, refresh, backfill and maintenance."""
