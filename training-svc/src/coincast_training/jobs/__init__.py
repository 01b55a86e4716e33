"""Training jobs: a persistent queue, one running job per model, each in its own process."""
