"""Authentication, scopes, API keys and rate limits."""
