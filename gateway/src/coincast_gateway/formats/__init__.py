"""Representations beside JSON: CSV and server-sent events."""
