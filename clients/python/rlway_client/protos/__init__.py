"""The messages of the gRPC protocols that RLway shares with others: .proto files, and what `make protos` generates.

Out:     `inference_pb2` and `model_config_pb2` (Open Inference Protocol); `tensorflow_serving_pb2`, `tensorflow_pb2`
         and `tensorflow_error_pb2` (TensorFlow Serving). Each is imported by its own name, and needs protobuf.
Refuses: To share a process with tritonclient.grpc, tensorflow_serving or ovmsclient: protobuf raises TypeError for a
         second definition of a message's full name, and theirs are the same.
"""
