"""gRPC calls and streams ↔ requests: one server of grpc.aio, on the same event loop as HTTP."""
