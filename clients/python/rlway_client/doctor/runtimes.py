"""What can run a policy's files here: onnxruntime and LiteRT, and the GPUs that are visible.

In:      a child process that imports a runtime, so that one that crashes on this processor does not end the doctor.
Out:     findings about each runtime and about GPUs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from rlway_client.common.quote import reason
from rlway_client.doctor.finding import Finding
from rlway_client.doctor.versions import installed

IMPORT_S, GPU_S = 120.0, 30.0  # a cold disk, a driver that wakes up
ONNX = ("onnxruntime", "onnxruntime-gpu")
LITE = ("ai-edge-litert", "tflite-runtime")
PROVIDERS = "import onnxruntime; print(*onnxruntime.get_available_providers())"
SUFFIX = "ExecutionProvider"
NVIDIA = Path("/proc/driver/nvidia/gpus")


def onnxruntime() -> Finding:
    """Its version, and the providers that it can run a file on."""
    found = {name: number for name in ONNX if (number := installed(name))}
    facts: dict[str, object] = {"packages": found, "providers": []}
    if not found:
        without = "not installed; serving needs it, and so does `rlway edge` for ONNX files"
        return Finding("runtimes", "onnxruntime", without, facts=facts)
    if len(found) > 1:  # both write into one folder, and the later one wins
        remedy = "pip uninstall onnxruntime onnxruntime-gpu; then install the one that you want"
        return Finding("runtimes", "onnxruntime", f"installed twice, as {' and '.join(found)}", remedy, facts)
    (name, number), fault, printed = *found.items(), *import_in_child(PROVIDERS)
    if fault:
        remedy = f"install it anew: pip install --force-reinstall {name}"
        return Finding("runtimes", name, f"{number} cannot be imported: {fault}", remedy, facts)
    facts["providers"] = printed.split()
    shown = ", ".join(provider.removesuffix(SUFFIX) for provider in printed.split())
    return Finding("runtimes", name, f"{number} with {shown}", facts=facts)


def litert() -> Finding:
    """The version of what runs TFLite files."""
    name = next((name for name in LITE if installed(name)), None)
    if name is None:
        if installed("tensorflow"):
            return Finding("runtimes", "LiteRT", "TensorFlow runs TFLite files here", facts={"package": None})
        without = "not installed; `rlway edge` needs it for TFLite files: pip install 'rlway-client[edge]'"
        return Finding("runtimes", "LiteRT", without, facts={"package": None})
    number = installed(name)
    facts = {"package": name, "version": number}
    fault, _ = import_in_child(f"import {name.replace('-', '_')}.interpreter")
    if fault:
        remedy = f"install it anew: pip install --force-reinstall {name}"
        return Finding("runtimes", "LiteRT", f"{name} {number} cannot be imported: {fault}", remedy, facts)
    return Finding("runtimes", "LiteRT", f"{name} {number}", facts=facts)


def gpus() -> Finding:
    """NVIDIA's GPUs that this process can see."""
    names, fault = visible_gpus()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    facts = {"gpus": names, "cuda_visible_devices": hidden}
    if fault:
        remedy = "look at what nvidia-smi says; the driver and its library have to be of one version"
        return Finding("runtimes", "GPUs", f"present, and not usable: {fault}", remedy, facts)
    state = ", ".join(names) or "none visible; policies run on the CPU"
    if hidden is not None:
        state += f" (CUDA_VISIBLE_DEVICES={hidden})"
    elif names and installed("onnxruntime"):
        state += "; onnxruntime-gpu in place of onnxruntime would run policies there"
    return Finding("runtimes", "GPUs", state, facts=facts)


def visible_gpus() -> tuple[list[str], str]:
    """The names of the GPUs, as nvidia-smi tells them; and why it does not, though the driver shows some."""
    present = NVIDIA.is_dir() and any(NVIDIA.iterdir())
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ([f"{len(list(NVIDIA.iterdir()))} of NVIDIA"] if present else []), ""
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=GPU_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], reason(error) if present else ""
    if done.returncode != 0:  # also where the tool is installed and there is no GPU
        return [], reason(done.stderr or done.stdout) if present else ""
    return [line.strip() for line in done.stdout.splitlines() if line.strip()], ""


def import_in_child(program: str) -> tuple[str, str]:
    """Runs a line of Python in a process of its own: what went wrong, or nothing; and what it printed."""
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-P", "-c", program]  # -P: no module of the current folder
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=IMPORT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {IMPORT_S:g} s", ""
    if done.returncode < 0:
        return f"it ended with {signal.Signals(-done.returncode).name}", ""
    if done.returncode > 0:
        lines = done.stderr.strip().splitlines()
        return reason(lines[-1] if lines else f"exit status {done.returncode}"), ""
    return "", done.stdout.strip()
