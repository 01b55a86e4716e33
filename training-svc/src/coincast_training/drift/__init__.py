"""Drift monitoring: compare live coverage, features and age with those of the training."""
