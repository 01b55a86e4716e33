"""Request schemas: query parameters and bodies."""
