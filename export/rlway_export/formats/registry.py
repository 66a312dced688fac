"""The formats that a policy can be exported to, one entry each.

In:      names, as `--formats` takes them.
Out:     `Format`s: their files, how each is written and run, and how far it may be from the SavedModel.
Refuses: an unknown name (UsageError lists the known ones); C where there is no compiler to prove it with
         (RuntimeMissing); a file that its runtime does not take (ExportRefused).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rlway_client.common.quote import reason
from rlway_client.contract.errors import BundleInvalid, ExportRefused, RuntimeMissing, UsageError
from rlway_client.contract.model_files import GODOT_FILE, UNITY_FILE
from rlway_client.contract.parity import Runner, Tolerance
from rlway_client.local.c_program import find_compiler
from rlway_client.local.runners import open_runner
from rlway_export.formats.context import Context
from rlway_export.formats.tflite import Precision

DEFAULT_FORMATS = "onnx,tflite"

# float32 carries 1.2e-7; a few layers of differently ordered sums lose two digits.
FLOAT32 = Tolerance(1e-5)
# Rounding to float16 costs up to 4.9e-4, and every layer rounds again.
FLOAT16 = Tolerance(5e-3, flips=0.01)
# Ranges in 255 steps, 4e-3 each. An error may exceed the gap between two Q-values, so the actions count as well.
INT8 = Tolerance(5e-2, flips=0.05)


class Format(NamedTuple):
    """One format, besides the SavedModel that every bundle holds."""

    name: str
    title: str
    files: tuple[str, ...]  # the last one is what is run
    write: Callable[[Context], None]  # into the draft's folder
    tolerance: Tolerance

    def open(self, context: Context) -> Runner:
        """The written file, ready to be run."""
        path = context.folder / self.files[-1]
        try:
            return open_runner(path, context.manifest)
        except BundleInvalid as error:  # its runtime lacks an operation of the file
            why = reason(str(error).replace(str(path), path.name), most=240)
            raise ExportRefused(f"{why}; leave {self.name} out of --formats.") from error


def _write_onnx(context: Context) -> None:
    from rlway_export.formats.onnx.convert import write_onnx

    write_onnx(context.onnx_model, context.folder / "model.onnx")


def _write_half_onnx(context: Context) -> None:
    from rlway_export.formats.onnx.convert import write_onnx
    from rlway_export.formats.onnx.float16 import to_half

    write_onnx(to_half(context.onnx_model), context.folder / "model.fp16.onnx")


def _tflite(title: str, file: str, precision: Precision, tolerance: Tolerance, name: str) -> Format:
    def write(context: Context) -> None:
        from rlway_export.formats.tflite import write_tflite

        write_tflite(context.tensorflow, precision, context.evidence.inputs, context.folder / file)

    return Format(name, title, (file,), write, tolerance)


def _write_c(context: Context) -> None:
    from rlway_export.formats.c.source import write_c

    write_c(context.plain_onnx_model, context.manifest, context.folder, context.guard)


def _write_unity(context: Context) -> None:
    from rlway_export.formats.games.unity import write_unity

    context.notes.extend(write_unity(context.onnx_model, context.manifest, context.folder))


def _write_godot(context: Context) -> None:
    from rlway_export.formats.games.godot import write_godot

    context.notes.extend(write_godot(context.onnx_model, context.manifest, context.folder))


def _tflm(name: str, title: str, tflite: Format, array: str) -> Format:
    """The bytes of a TFLite format's file as an array in C++."""

    def write(context: Context) -> None:
        from rlway_export.formats.tflm import write_tflm

        file = context.folder / tflite.files[0]
        is_wanted = file.exists()
        if not is_wanted:
            tflite.write(context)
        write_tflm(file.read_bytes(), context.manifest, array, context.folder)
        if not is_wanted:
            file.unlink()

    return Format(name, title, (f"{array}.h", f"{array}.cc"), write, tflite.tolerance)


TFLITE = _tflite("TFLite", "model.tflite", "float32", FLOAT32, "tflite")
TFLITE_INT8 = _tflite("TFLite in int8", "model.int8.tflite", "int8", INT8, "tflite-int8")

FORMATS = {
    one.name: one
    for one in (
        Format("onnx", "ONNX", ("model.onnx",), _write_onnx, FLOAT32),
        Format("onnx-fp16", "ONNX in float16", ("model.fp16.onnx",), _write_half_onnx, FLOAT16),
        TFLITE,
        _tflite("TFLite with float16 weights", "model.fp16.tflite", "float16", FLOAT16, "tflite-fp16"),
        _tflite("TFLite with int8 weights", "model.dynamic.tflite", "dynamic", INT8, "tflite-dynamic"),
        TFLITE_INT8,
        Format("c", "C source", ("policy.h", "policy.c"), _write_c, FLOAT32),
        _tflm("tflm", "TFLite Micro", TFLITE, "policy_model"),
        _tflm("tflm-int8", "TFLite Micro in int8", TFLITE_INT8, "policy_model_int8"),
        Format("unity", "ONNX for Unity's ML-Agents", (UNITY_FILE,), _write_unity, FLOAT32),
        Format("godot", "ONNX for Godot RL Agents", (GODOT_FILE,), _write_godot, FLOAT32),
    )
}


def parse_formats(formats: str) -> list[Format]:
    """The formats of a comma-separated list, in the order of `FORMATS`."""
    names = [name.strip() for name in formats.split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        got = ", ".join(unknown) or "nothing"
        raise UsageError(f"--formats {formats}: expected some of {','.join(FORMATS)}, got {got}.")
    if "c" in names:
        _check_compiler()
    return [one for one in FORMATS.values() if one.name in names]


def _check_compiler() -> None:
    """Refuses at once: without a compiler the C source cannot be run, so it cannot be proven or published."""
    try:
        find_compiler()
    except RuntimeMissing as error:
        raise RuntimeMissing(f"--formats c: {error} Without one its source cannot be proven, nor published.") from None
