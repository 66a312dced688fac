"""The datatypes of the Open Inference Protocol, and those of Triton's model configuration.

In:      a datatype's name in a request, such as `FP32`; the dtype of a spec.
Out:     numpy's dtype; the name.
Refuses: BYTES and BF16, which no policy takes, and unknown names (SpecViolated).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.specs import DTYPES, Fault

_FLOATS = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
NAMES = {dtype: _FLOATS.get(dtype, dtype.upper()) for dtype in DTYPES}  # by numpy's name
DATATYPES: dict[str, np.dtype[Any]] = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in NAMES.items()}
_UNSERVED = {"BYTES": "text", "BF16": "bfloat16"}


def dtype_of(datatype: str, where: str) -> np.dtype[Any]:
    """Numpy's dtype of a datatype; `where` names the tensor. Raises SpecViolated."""
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        got = f"{datatype}: no policy takes {_UNSERVED[datatype]}" if datatype in _UNSERVED else clipped(datatype)
        raise SpecViolated([Fault(f"{where}.datatype", f"one of {', '.join(DATATYPES)}", got)])
    return dtype


def config_type(dtype: str) -> str:
    """The name of a spec's dtype in a model configuration: `TYPE_FP32`."""
    return f"TYPE_{NAMES[dtype]}"
