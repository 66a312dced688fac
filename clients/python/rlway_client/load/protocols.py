"""The protocols that the load test speaks, by name.

In:      a protocol's name, a target.
Out:     its dialect.
Refuses: gRPC without its packages, or without a port (UsageError).
"""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec

from rlway_client.common.packages import SERVING, missing
from rlway_client.contract.errors import UsageError
from rlway_client.load.asker import Dialect
from rlway_client.load.dialects.native import Native, Stream
from rlway_client.load.dialects.oip import Oip
from rlway_client.load.dialects.openpi import Openpi
from rlway_client.load.dialects.tfs import Tfs
from rlway_client.load.target import Target


class Protocol(StrEnum):
    """As `--protocol` names them."""

    NATIVE = "native"
    STREAM = "stream"
    OPENPI = "openpi"
    OIP = "oip"
    OIP_GRPC = "oip-grpc"
    TFS = "tfs"
    TFS_GRPC = "tfs-grpc"

    @property
    def is_grpc(self) -> bool:
        return self in (Protocol.OIP_GRPC, Protocol.TFS_GRPC)


def make_dialect(protocol: Protocol, target: Target, binary: bool = True) -> Dialect:
    """`binary`: whether `oip` sends its tensors as octets."""
    if protocol.is_grpc:
        return _make_grpc(protocol, target)
    if protocol is Protocol.OIP:
        return Oip(target, binary)
    plain: dict[Protocol, type[Native | Stream | Openpi | Tfs]] = {
        Protocol.NATIVE: Native,
        Protocol.STREAM: Stream,
        Protocol.OPENPI: Openpi,
        Protocol.TFS: Tfs,
    }
    return plain[protocol](target)


def check_grpc(protocol: Protocol, grpc_port: int | None) -> None:
    """Raises UsageError where a gRPC protocol lacks its packages or its port, or another one has a port."""
    if not protocol.is_grpc:
        if grpc_port is not None:
            raise UsageError(f"--grpc-port: expected none for the protocol {protocol}, which is not gRPC.")
        return
    for package, module in (("grpcio", "grpc"), ("protobuf", "google.protobuf")):
        if not _is_there(module):
            raise UsageError(missing(f"--protocol {protocol}", package, "rlway-client[bench]", SERVING))
    if grpc_port is None:
        raise UsageError(
            f"--protocol {protocol}: expected --grpc-port, the port of `rlway serve --grpc-port`, got none."
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _make_grpc(protocol: Protocol, target: Target) -> Dialect:
    # Imported here: grpcio and protobuf are for those who use them.
    if protocol is Protocol.OIP_GRPC:
        from rlway_client.load.dialects.oip_grpc import OipGrpc

        return OipGrpc(target)
    from rlway_client.load.dialects.tfs_grpc import TfsGrpc

    return TfsGrpc(target)
