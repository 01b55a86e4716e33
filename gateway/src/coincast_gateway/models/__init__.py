"""The shape of every reply, for OpenAPI and for those who check it."""
