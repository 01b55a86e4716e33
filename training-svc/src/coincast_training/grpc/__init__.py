"""gRPC servicers of the training service, and their mapping to protocol buffers."""
