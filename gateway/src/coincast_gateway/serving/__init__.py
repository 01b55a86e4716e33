"""How a reply leaves the gateway: validated, made once, kept as ready bytes, sent by pure ASGI."""
