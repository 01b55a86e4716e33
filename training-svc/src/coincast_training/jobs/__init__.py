"""Training jobs: a persistent queue, one job a model at a time, each in its own process."""
