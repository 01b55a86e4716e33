"""The response cache: cached responses with their encodings, in memory and in Redis."""
