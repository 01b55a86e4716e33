"""The gRPC interface of the service: servicer, message conversion and status."""
