"""Turns history into versioned, compared, promoted models."""

__version__ = "0.1.0"
