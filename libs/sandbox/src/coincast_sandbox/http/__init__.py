"""The HTTP layer of the sandbox: access limits, query parsing, error bodies, middleware, admin routes."""
