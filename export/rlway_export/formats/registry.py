"""The formats that a policy can be exported to: one entry each, which the bundle writer goes through.

In:      names, as `--formats` takes them.
Out:     `Target`s: which files, how they are written, how they are run, how far they may be from the SavedModel.
Refuses: a name that is none (UsageError lists those that are); C where there is no compiler to prove it with; a file
         that its runtime does not take (ExportRefused).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rlway_client.common.quote import reason
from rlway_client.contract.errors import BundleInvalid, ExportRefused, RuntimeMissing, UsageError
from rlway_client.contract.parity import Runner, Tolerance
from rlway_client.local.c_program import find_compiler
from rlway_client.local.runners import open_runner
from rlway_export.formats.context import Draft
from rlway_export.formats.tflite import Precision

DEFAULT_FORMATS = "onnx,tflite"

# float32 carries 1.2e-7; a few layers of differently ordered sums lose two digits.
FLOAT32 = Tolerance(1e-5)
# A rounding to float16 costs up to 4.9e-4, and every layer rounds again.
FLOAT16 = Tolerance(5e-3, flips=0.01)
# Ranges in 255 steps, 4e-3 each. A Q-value may be wrong by much more than two of them differ: the actions count.
INT8 = Tolerance(5e-2, flips=0.05)


class Target(NamedTuple):
    """One format beside the SavedModel, which every bundle holds."""

    name: str
    title: str
    files: tuple[str, ...]  # the last one is what is run
    write: Callable[[Draft], None]  # into the draft's folder
    tolerance: Tolerance

    def open(self, draft: Draft) -> Runner:
        """The written file, ready to be run."""
        path = draft.folder / self.files[-1]
        try:
            return open_runner(path, draft.manifest)
        except BundleInvalid as error:  # its runtime lacks what the file is made of
            told = reason(str(error).replace(str(path), path.name), most=240)
            raise ExportRefused(f"{told}; leave {self.name} out of --formats.") from error


def _write_onnx(draft: Draft) -> None:
    from rlway_export.formats.onnx.convert import write_onnx

    write_onnx(draft.onnx_model, draft.folder / "model.onnx")


def _write_half_onnx(draft: Draft) -> None:
    from rlway_export.formats.onnx.convert import write_onnx
    from rlway_export.formats.onnx.float16 import to_half

    write_onnx(to_half(draft.onnx_model), draft.folder / "model.fp16.onnx")


def _tflite(title: str, file: str, precision: Precision, tolerance: Tolerance, name: str) -> Target:
    def write(draft: Draft) -> None:
        from rlway_export.formats.tflite import write_tflite

        write_tflite(draft.policy, precision, draft.evidence.inputs, draft.folder / file)

    return Target(name, title, (file,), write, tolerance)


def _write_c(draft: Draft) -> None:
    from rlway_export.formats.c.source import write_c

    write_c(draft.onnx_model, draft.manifest, draft.folder)


def _tflm(name: str, title: str, tflite: Target, array: str) -> Target:
    """The bytes of another target's file as an array."""

    def write(draft: Draft) -> None:
        from rlway_export.formats.tflm import write_tflm

        file = draft.folder / tflite.files[0]
        is_wanted_too = file.exists()
        if not is_wanted_too:
            tflite.write(draft)
        write_tflm(file.read_bytes(), draft.manifest, array, draft.folder)
        if not is_wanted_too:
            file.unlink()

    return Target(name, title, (f"{array}.h", f"{array}.cc"), write, tflite.tolerance)


TFLITE = _tflite("TFLite", "model.tflite", "float32", FLOAT32, "tflite")
TFLITE_INT8 = _tflite("TFLite in int8", "model.int8.tflite", "int8", INT8, "tflite-int8")

TARGETS = {
    target.name: target
    for target in (
        Target("onnx", "ONNX", ("model.onnx",), _write_onnx, FLOAT32),
        Target("onnx-fp16", "ONNX in float16", ("model.fp16.onnx",), _write_half_onnx, FLOAT16),
        TFLITE,
        _tflite("TFLite with float16 weights", "model.fp16.tflite", "float16", FLOAT16, "tflite-fp16"),
        _tflite("TFLite with int8 weights", "model.dynamic.tflite", "dynamic", INT8, "tflite-dynamic"),
        TFLITE_INT8,
        Target("c", "C source", ("policy.h", "policy.c"), _write_c, FLOAT32),
        _tflm("tflm", "TFLite Micro", TFLITE, "policy_model"),
        _tflm("tflm-int8", "TFLite Micro in int8", TFLITE_INT8, "policy_model_int8"),
    )
}


def parse_formats(formats: str) -> list[Target]:
    """The targets of a comma-separated list, in the order in which they are always written."""
    names = [name.strip() for name in formats.split(",") if name.strip()]
    unknown = [name for name in names if name not in TARGETS]
    if unknown or not names:
        got = ", ".join(unknown) or "nothing"
        raise UsageError(f"--formats {formats}: expected some of {','.join(TARGETS)}, got {got}.")
    if "c" in names:
        _check_compiler()
    return [target for target in TARGETS.values() if target.name in names]


def _check_compiler() -> None:
    """What cannot be run cannot be proven, and what is not proven is not published: better said at once."""
    try:
        find_compiler()
    except RuntimeMissing as error:
        raise RuntimeMissing(f"--formats c: {error} Without one its source cannot be proven, nor published.") from None
