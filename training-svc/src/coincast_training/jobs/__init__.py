"""Training jobs: a persistent queue; each job runs in its own process, at most one for each model."""
