"""Arrays in the safetensors format.

In:      a file.
Out:     arrays by name.
Refuses: a file that is cut or inconsistent (ValueError).

The format is a header in JSON behind its length, and then the numbers: no code, and nothing to resolve.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from rlway_client.contract.parity import Arrays

MOST_BYTES = 1 << 28
MOST_HEADER = 1 << 20
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


def read_safetensors(path: Path) -> Arrays:
    """All arrays of the file."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES} bytes")
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if not 2 <= size <= min(MOST_HEADER, len(content) - 8):
        raise ValueError("its header does not end within it")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    found: Arrays = {}
    for name, facts in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape = np.dtype(DTYPES[facts["dtype"]]), [int(n) for n in facts["shape"]]
            start, end = (int(n) for n in facts["data_offsets"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{name[:60]!r} is of an unknown type or shape") from error
        if min(shape, default=1) < 0 or not 0 <= start <= end <= len(body):
            raise ValueError(f"{name[:60]!r} does not lie within it")
        if math.prod(shape) * dtype.itemsize != end - start:
            raise ValueError(f"{name[:60]!r} has not as many bytes as its shape needs")
        found[name] = np.frombuffer(body[start:end], dtype).reshape(shape)
    return found
