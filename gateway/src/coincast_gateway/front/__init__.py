"""The pure ASGI layer in front of everything: ready bytes, limits, ids, metrics."""
