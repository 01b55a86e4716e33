"""Drift monitoring: compare live coverage, features and age with what training saw."""
