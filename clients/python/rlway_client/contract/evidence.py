"""What a bundle keeps of its parity check: some observations, the noise, and the SavedModel's outputs for them.

In:      `parity.npz`, written by `rlway export`.
Out:     inputs and expected outputs by name, with which every file can be compared again without TensorFlow.
Refuses: a file that is damaged, or whose arrays do not fit the manifest (BundleInvalid).
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays, spread
from rlway_client.contract.specs import TensorSpec

FILE = "parity.npz"
MOST_ROWS = 512
MOST_BYTES = 1 << 20  # uncompressed; there is room for fewer rows of images


class Evidence(NamedTuple):
    """Inputs of the SavedModel, and the outputs expected for them: [rows, …] by name."""

    inputs: Arrays
    expected: Arrays

    def excerpt(self) -> Evidence:
        """The rows that a bundle keeps, evenly spaced over all of them."""
        arrays = [*self.inputs.values(), *self.expected.values()]
        rows = max(1, min(MOST_ROWS, MOST_BYTES // sum(array[:1].nbytes for array in arrays)))
        return Evidence(*({name: spread(array, rows) for name, array in part.items()} for part in self))

    def write(self, path: Path) -> None:
        """Writes each array, as `inputs.<name>` or `expected.<name>`."""
        buffer = io.BytesIO()
        parts = self._asdict().items()
        np.savez_compressed(
            buffer, **{f"{part}.{name}": array for part, known in parts for name, array in known.items()}
        )
        path.write_bytes(buffer.getvalue())

    @classmethod
    def read(cls, path: Path, manifest: Manifest) -> Evidence:
        """Reads all arrays, and compares their shapes with the manifest's. Raises BundleInvalid."""
        inputs, results = manifest.interface.inputs, manifest.interface.results
        try:
            with np.load(path, allow_pickle=False) as arrays:
                evidence = cls(
                    {spec.name: arrays[f"inputs.{spec.name}"] for spec in inputs},
                    {spec.name: arrays[f"expected.{spec.name}"] for spec in results},
                )
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise BundleInvalid(f"{path}: cannot be read: {error}.") from None
        rows = len(evidence.inputs[inputs[0].name]) if evidence.inputs[inputs[0].name].ndim else 0
        known = {**evidence.inputs, **evidence.expected}
        for spec in (*inputs, *results):
            _check(path, spec, known[spec.name].shape, rows)
        return evidence


def _check(path: Path, spec: TensorSpec, shape: tuple[int, ...], rows: int) -> None:
    if shape != (rows, *spec.shape) or not rows:
        raise BundleInvalid(f"{path}: expected rows of {spec.name} {spec.label}, got an array of shape {list(shape)}.")
