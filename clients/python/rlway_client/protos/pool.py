"""The descriptor pool of these messages, apart from protobuf's default one.

Out:     POOL, in which `make protos` lets every stub define its messages.

A pool holds each full name once. With a pool of their own, these messages can share a process with tritonclient or
tensorflow_serving, whose messages have the same full names; to such a package they go as bytes. protobuf's own types
are defined anew here as well: a google.protobuf.Int64Value of the default pool is another class.
"""

from __future__ import annotations

from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
for _file in (any_pb2, wrappers_pb2):
    POOL.AddSerializedFile(_file.DESCRIPTOR.serialized_pb)
