"""Hyperparameter tuning: seeded, pruned on walk-forward folds, resumable from disk."""
