"""Market data that outlives its upstream: cache, batches, quota, breakers, archive."""

import coincast_chassis  # noqa: F401 - before gRPC: see there
