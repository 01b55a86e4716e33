"""Train the ensemble: its members, their pool, and the walk-forward that calibrates it."""
