"""FastAPI routers, one module per area of the API."""
