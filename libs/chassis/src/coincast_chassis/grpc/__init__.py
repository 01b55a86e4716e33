"""gRPC servers and channels: interceptors, deadlines, health, and the mapping of errors to status codes."""
