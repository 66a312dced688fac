"""The messages of the gRPC protocols that RLway shares with others: .proto files, and what `make protos` generates.

Out:     `inference_pb2` and `model_config_pb2` (Open Inference Protocol); `tensorflow_serving_pb2`, `tensorflow_pb2`
         and `tensorflow_error_pb2` (TensorFlow Serving); `pool.POOL`, which holds their descriptors, services included.
         Each is imported by its own name, and needs protobuf.
"""
