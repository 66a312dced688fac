"""Compiles a policy's C source, and calls it.

In:      `policy.c` beside its `policy.h`, the manifest; arrays by name, first dimension 1.
Out:     outputs by name, whole numbers in 32 bits; of a policy with state also the next state.
Refuses: a machine without a C compiler, or too slow for it (RuntimeMissing); source that does not compile
         (BundleInvalid).

This runs code from the bundle: use it only for bundles that you trust.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.errors import BundleInvalid, RuntimeMissing
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")
COMPILE_S = 120.0


def find_compiler() -> str:
    """The path of a C compiler. Raises RuntimeMissing."""
    for name in COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise RuntimeMissing(f"running C source needs a C compiler: expected one of {', '.join(COMPILERS)} on PATH.")


class CRunner:
    """The compiled function, with the interface of the other runners."""

    batch_sizes = (1,)

    def __init__(self, path: Path, manifest: Manifest) -> None:
        noise = [manifest.noise] if manifest.noise else []
        self._inputs = [*manifest.observation, *noise, *manifest.time_step]
        self._state = manifest.state
        self._outputs = [*manifest.actions, *manifest.outputs]
        with tempfile.TemporaryDirectory(prefix="rlway-c-") as folder:
            library = Path(folder) / "policy.so"
            command = [find_compiler(), *FLAGS, "-shared", "-fPIC", "-o", str(library), str(path), "-lm"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S)
            except subprocess.TimeoutExpired:  # a large policy on a small machine
                raise RuntimeMissing(
                    f"{path}: expected {command[0]} to compile it within {COMPILE_S:g} s on this machine, but it took "
                    f"longer; run another file of the bundle."
                ) from None
            if done.returncode:
                said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
                reason = next((line for line in said if "error" in line), said[0])
                raise BundleInvalid(f"{path}: does not compile: {reason}.")
            self._act: Any = ctypes.CDLL(str(library)).rlway_act  # it stays loaded after its file is removed
        self._act.restype = None

    def run(self, inputs: Arrays) -> Arrays:
        """Runs one row, [1, …] by name. The state goes in under its own names, and comes out as `next_<name>`."""
        rows = [np.ascontiguousarray(inputs[spec.name][0], _dtype(spec)) for spec in self._inputs]
        state = {f"next_{spec.name}": np.array(inputs[spec.name][:1], _dtype(spec)) for spec in self._state}
        answers = {spec.name: np.zeros((1, *spec.shape), _dtype(spec)) for spec in self._outputs}
        arrays = [array.ctypes.data_as(ctypes.c_void_p) for array in (*rows, *state.values(), *answers.values())]
        reset = [ctypes.c_int(bool(inputs["reset"][0]))] if state else []
        first_output = len(rows) + len(state)
        self._act(*arrays[:first_output], *reset, *arrays[first_output:])
        return {**answers, **state}


def _dtype(spec: TensorSpec) -> np.dtype[Any]:
    """The tensor's type in the source: whole numbers have 32 bits, flags are bytes."""
    return np.dtype({"int64": "int32", "bool": "uint8"}.get(spec.dtype, spec.dtype))
