"""Baselines and reference models that every forecast is compared with."""
