"""Batched model inference off the event loop."""
