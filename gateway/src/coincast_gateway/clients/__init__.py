"""gRPC clients of the services, each with a deadline, a concurrency limit and a breaker."""
