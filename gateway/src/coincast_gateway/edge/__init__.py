"""The outermost ASGI layer: HTTP limits, CORS, request ids, rejections and request metrics."""
