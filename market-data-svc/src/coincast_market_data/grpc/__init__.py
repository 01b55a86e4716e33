"""gRPC adapter: servicer, conversion between protobuf and the domain, status report."""
