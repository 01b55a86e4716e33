"""Response schemas, used for OpenAPI."""
