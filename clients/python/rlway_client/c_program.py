"""A policy's C source, compiled and called.

In:      `policy.c` beside its `policy.h`, the manifest.
Out:     outputs by name.
Refuses: a machine without a C compiler (RuntimeMissing), source that does not compile (BundleInvalid).

This runs code that came with a bundle: only for bundles that are trusted.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.errors import BundleInvalid, RuntimeMissing
from rlway_client.manifest import Manifest
from rlway_client.parity import Arrays

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")
COMPILE_S = 120.0


def find_compiler() -> str:
    """The C compiler's path."""
    for name in COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise RuntimeMissing(f"running C source needs a C compiler: expected one of {', '.join(COMPILERS)} on PATH.")


class CRunner:
    """The compiled function, behind the same face as the other runners."""

    batch_sizes = (1,)

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._inputs = [spec.name for spec in manifest.observation] + (["noise"] if manifest.noise else [])
        self._outputs = [
            (spec.name, spec.shape, np.int32 if spec.is_discrete else np.float32)
            for spec in (manifest.action, *manifest.outputs)
        ]
        with tempfile.TemporaryDirectory(prefix="rlway-c-") as folder:
            library = Path(folder) / "policy.so"
            command = [find_compiler(), *FLAGS, "-shared", "-fPIC", "-o", str(library), str(path), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S)
            if done.returncode:
                reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
                raise BundleInvalid(f"{path}: does not compile: {reason[0]}.")
            self._act: Any = ctypes.CDLL(str(library)).rlway_act  # it stays loaded without its file
        self._act.restype = None

    def run(self, inputs: Arrays) -> Arrays:
        """One call for one row."""
        rows = [np.ascontiguousarray(inputs[name][0], np.float32) for name in self._inputs]
        answers = {name: np.zeros((1, *shape), dtype) for name, shape, dtype in self._outputs}
        self._act(*(array.ctypes.data_as(ctypes.c_void_p) for array in (*rows, *answers.values())))
        return dict(answers)
