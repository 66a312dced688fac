"""Runs TFLite files in LiteRT, for bundles without an ONNX file.

In:      a file with the signature `act`, which takes one row.
Out:     a session for one row, which `RowByRow` turns into one for batches.
Refuses: a file that LiteRT cannot load; every file if LiteRT is not installed (BundleInvalid).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlway_client.contract.errors import BundleInvalid
from rlway_client.contract.model_files import SIGNATURE
from rlway_client.contract.specs import AnyArray

LONG_ERROR = 10_000  # characters; each error of an interpreter repeats all its earlier ones, so it is reopened


class LiteSession:
    """Runs one row at a time, since the file's batch size is 1."""

    name = "litert"
    on_cpu = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        path = self._path
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError:
            raise BundleInvalid(
                f"{path}: serving a TFLite file needs LiteRT: pip install 'rlway-client[edge]'."
            ) from None
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
            self._act: Any = self._interpreter.get_signature_runner(SIGNATURE)
        except (RuntimeError, ValueError) as error:
            raise BundleInvalid(f"{path}: LiteRT cannot load it: {error}.") from None

    def signature(self) -> tuple[set[str], set[str]]:
        return set(self._act.get_input_details()), set(self._act.get_output_details())

    def run(self, inputs: dict[str, AnyArray], outputs: Sequence[str]) -> list[AnyArray]:
        try:
            results = self._act(**inputs)
        except RuntimeError as error:
            if len(str(error)) > LONG_ERROR:
                self._open()
            raise
        return [results[name] for name in outputs]
