"""Turns history into versioned, compared, promoted models."""
