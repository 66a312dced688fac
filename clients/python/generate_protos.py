"""Generates the stubs of rlway_client/protos/*.proto: `make protos`.

In:      the .proto files; the folder to write below, by default this one.
Out:     *_pb2.py and *_pb2.pyi, whose messages are defined in `rlway_client.protos.pool.POOL`.
Refuses: a generator whose stubs are not as expected (RuntimeError).
"""

from __future__ import annotations

import sys
from importlib.resources import as_file, files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).parent
# What the generator writes, and what the stubs have in its place: the messages are defined in a pool of their own.
CHANGES = {
    "from google.protobuf import descriptor_pool as _descriptor_pool": "from rlway_client.protos import pool as _pool",
    "_descriptor_pool.Default()": "_pool.POOL",
}


def generate(into: Path) -> list[Path]:
    """Writes the stubs below `into`, and returns their paths relative to it."""
    sources = [path.relative_to(HERE) for path in sorted(HERE.glob("rlway_client/protos/*.proto"))]
    with as_file(files("grpc_tools") / "_proto") as included:
        words = [f"-I{HERE}", f"-I{included}", f"--python_out={into}", f"--pyi_out={into}", *map(str, sources)]
        if protoc.main(["protoc", *words]) != 0:
            raise RuntimeError("protoc failed; its messages are above")
    stubs = [source.with_name(f"{source.stem}_pb2.py") for source in sources]
    for stub in stubs:
        text = (into / stub).read_text()
        for written, wanted in CHANGES.items():
            if text.count(written) != 1:
                raise RuntimeError(f"{stub}: expected one {written!r}, got {text.count(written)}")
            text = text.replace(written, wanted)
        (into / stub).write_text(text)
    return sorted([*stubs, *(stub.with_suffix(".pyi") for stub in stubs)])


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
