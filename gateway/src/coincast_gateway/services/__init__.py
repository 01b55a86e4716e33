"""The services behind the gateway, each behind a deadline, a limit and a breaker of its own."""
