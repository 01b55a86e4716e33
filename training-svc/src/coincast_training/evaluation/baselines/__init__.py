"""Baselines and reference models for comparison."""
