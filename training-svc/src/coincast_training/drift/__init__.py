"""Drift monitoring: live coverage, feature distributions and age of the production versions."""
