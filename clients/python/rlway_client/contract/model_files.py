"""The model files of a bundle: which one a server runs, and which one runs in process on a robot.

In:      the names of the bundle's files.
Out:     the name of the one that is run; None where there is none.
"""

from __future__ import annotations

from collections.abc import Collection

ONNX_FILE = "model.onnx"
LITE_FILES = ("model.tflite", "model.fp16.tflite", "model.dynamic.tflite", "model.int8.tflite")  # the most exact first
UNITY_FILE, GODOT_FILE = "model.unity.onnx", "model.godot.onnx"
ENGINES = {UNITY_FILE: "Unity", GODOT_FILE: "Godot"}  # which run these files, and nothing here
SIGNATURE = "act"  # the one signature of a TFLite file, which names its inputs and outputs


def served_file(files: Collection[str]) -> str | None:
    """The file that `rlway serve` runs; None if it runs none of these."""
    return ONNX_FILE if ONNX_FILE in files else lite_file(files)


def lite_file(files: Collection[str]) -> str | None:
    """The first file that `rlway edge` can run; None if there is none. Without `--file` it runs `LITE_FILES[0]`."""
    return next((name for name in LITE_FILES if name in files), None)
