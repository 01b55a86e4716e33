"""The log of served forecasts: a Redis stream, with a spool on disk while Redis is unavailable."""
