"""How long one action takes, on this machine.

In:      a file of a bundle, and one observation.
Out:     microseconds: the median over many consecutive calls, from arrays to the action.

The time includes Python's share of a call. C source is the exception: its users have no Python, so a compiled loop
makes the calls.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.common.muting import muted
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.model_files import ENGINES, SIGNATURE
from rlway_client.contract.parity import Arrays
from rlway_client.local.c_program import FLAGS, find_compiler
from rlway_client.local.godot_runner import GodotRunner
from rlway_client.local.onnx_session import open_session
from rlway_client.local.runners import open_runner
from rlway_client.local.unity_runner import UnityRunner
from rlway_export.formats.c.signature import CSignature

LONGEST_S = 0.2  # for one file
CALLS = 2_000  # at most
C_CALLS = 1_000  # in one loop, whose time is one sample
LOOP = """\
#include "policy.h"

void rlway_repeat(void **arguments, long calls);

void rlway_repeat(void **arguments, long calls)
{{
    long i;
    for (i = 0; i < calls; i++) {{
        RLWAY_ACT({arguments});
    }}
}}
"""


def action_us(path: Path, manifest: Manifest, inputs: Arrays) -> float | None:
    """The time of one file; `inputs` by name, one row each.

    None for a kind of file that cannot run here.
    """
    made = make_call(path, manifest, inputs)
    if made is None:
        return None
    call, actions = made
    return median_us(call) / actions


def make_call(path: Path, manifest: Manifest, inputs: Arrays) -> tuple[Callable[[], object], int] | None:
    """The call to time, and how many actions it takes."""
    if path.name in ENGINES:
        runner = open_runner(path, manifest)
        assert isinstance(runner, UnityRunner | GodotRunner)
        return runner.call(inputs), 1
    match path.suffix:
        case ".onnx":
            return _onnx(path, manifest, inputs), 1
        case ".tflite":
            return _tflite(path, manifest, inputs), 1
        case ".c":
            return _compiled_loop(path.parent, manifest, inputs), C_CALLS
    return None


def median_us(call: Callable[[], object]) -> float:
    """The call's median time."""
    for _ in range(10):
        call()
    taken_ns: list[int] = []
    end_s = time.perf_counter() + LONGEST_S
    while len(taken_ns) < CALLS and time.perf_counter() < end_s:
        start_ns = time.perf_counter_ns()
        call()
        taken_ns.append(time.perf_counter_ns() - start_ns)
    return float(np.median(taken_ns)) / 1e3


def saved_model_us(call: Callable[[], object]) -> float | None:
    """The time of a call of the SavedModel's own `action`; None where it fails: it may compute more than the files."""
    import tensorflow as tf

    try:
        call()
    except (tf.errors.OpError, ValueError):
        return None
    return median_us(call)


def _onnx(path: Path, manifest: Manifest, inputs: Arrays) -> Callable[[], object]:
    session = open_session(path)
    given = {one.name: inputs[one.name] for one in session.get_inputs()}
    actions = [spec.name for spec in manifest.actions]
    return lambda: session.run(actions, given)


def _tflite(path: Path, manifest: Manifest, inputs: Arrays) -> Callable[[], object]:
    import tensorflow as tf

    with muted():  # its delegate reports itself
        interpreter = tf.lite.Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        details = interpreter.get_signature_runner(SIGNATURE)
    given = [(detail["index"], inputs[name]) for name, detail in details.get_input_details().items()]
    actions = [details.get_output_details()[spec.name]["index"] for spec in manifest.actions]

    def call() -> object:
        for index, value in given:
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        return [interpreter.get_tensor(action) for action in actions]

    return call


def _compiled_loop(folder: Path, manifest: Manifest, inputs: Arrays) -> Callable[[], object]:
    """Calls policy.c `C_CALLS` times from a separate source, so that no compiler sees that all calls are equal."""
    signature = CSignature.of(manifest)
    parameters = signature.prototype().partition("(")[2].split(",")
    largest = max(spec.size for spec in (*manifest.interface.inputs, *manifest.interface.results))
    arrays = np.zeros((len(parameters), largest), np.float64)
    for array, observed in zip(arrays, signature.observation, strict=False):  # the observation comes first
        array.view(observed.dtype)[: observed.spec.size] = inputs[observed.spec.name].ravel()
    pointers = (ctypes.c_void_p * len(parameters))(*(array.ctypes.data for array in arrays))
    arguments = [f"arguments[{i}]" if "*" in parameter else "0" for i, parameter in enumerate(parameters)]
    with tempfile.TemporaryDirectory(prefix="rlway-loop-") as scratch:
        loop, library = Path(scratch) / "loop.c", Path(scratch) / "loop.so"
        loop.write_text(LOOP.format(arguments=", ".join(arguments)))
        sources = [str(loop), str(folder / "policy.c")]
        command = [find_compiler(), *FLAGS, f"-I{folder}", "-shared", "-fPIC", "-o", str(library), *sources, "-lm"]
        subprocess.run(command, check=True, capture_output=True)
        repeat: Any = ctypes.CDLL(str(library)).rlway_repeat
    repeat.restype = None

    def call() -> object:
        repeat(pointers, ctypes.c_long(C_CALLS))
        return arrays

    return call
