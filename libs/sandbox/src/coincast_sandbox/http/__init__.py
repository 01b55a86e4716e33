"""The HTTP layer of the sandbox: plans, rate limits, query parsing, errors, middleware, admin routes."""
