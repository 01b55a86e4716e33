"""Who may ask, and how much: API keys, scopes, limits."""
