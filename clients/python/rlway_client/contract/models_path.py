"""Checks that a path can be a models folder; if not, the error says what it is and what to give instead.

In:      the path given to `rlway serve`.
Out:     nothing.
Refuses: a path that does not exist or is no folder; a bundle, a policy's folder, a run or a SavedModel (BundleInvalid).

    models/cartpole/3/manifest.json      `rlway serve models`
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rlway_client.contract.bundle import is_version_name
from rlway_client.contract.errors import BundleInvalid

MANIFEST = "manifest.json"
MODEL_FILES = {
    ".onnx": "an ONNX model",
    ".tflite": "a TFLite model",
    ".pb": "a TensorFlow graph",
    ".npz": "an NPZ file",
}
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z")
RUN_FILES = ("run.json", "job.json")
SAVED_MODEL = "saved_model.pb"
LAYOUT = "models/<policy>/<version>/"


def check_models_path(path: Path) -> None:
    """Raises unless the path is a folder that may hold policies, now or later."""
    try:
        fault = _fault(path)
    except OSError as error:
        fault = f"cannot be read: {error.strerror}."
    if fault:
        raise BundleInvalid(f"{path}: {fault}")


def _fault(path: Path) -> str:
    if not path.is_dir():
        return _fault_of_file(path) if path.exists() else _fault_of_nothing(path)
    below = any(_manifests(path))
    if (below or (path / MANIFEST).is_file()) and any(_bundles(path)):
        return ""
    if below:
        return f"is one policy's folder; {_serve_instead(path.resolve().parent, path)}"
    if (path / MANIFEST).is_file():
        return f"is a bundle, one version of one policy; {_serve_above(path.resolve(), path)}"
    if any((path / name).is_file() for name in RUN_FILES):
        return f"is the run of a training; {_export_first(path)}"
    if any((path / name / SAVED_MODEL).is_file() for name in ("", "greedy_policy", "policy")):
        return f"is a SavedModel, not a folder of bundles; {_export_first(path)}"
    return ""


def _fault_of_nothing(path: Path) -> str:
    file = next((parent for parent in path.parents if parent.is_file()), None)
    if file is not None:
        return f"{file.name} is a file, so there is nothing below it; expected a folder that holds {LAYOUT}."
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which is not there; make a folder there that holds {LAYOUT}."
    return f"no such folder; `rlway export RUN --models {shlex.quote(str(path))} --policy NAME` fills one."


def _fault_of_file(path: Path) -> str:
    if (path.parent / MANIFEST).is_file():
        return f"is a file of a bundle; {_serve_above(path.parent.resolve(), path)}"
    if path.suffix.lower() in ARCHIVES:
        return f"is an archive; unpack it, and give the folder that holds {LAYOUT}."
    kind = MODEL_FILES.get(path.suffix.lower(), "a file")
    made = "`rlway export RUN --models models --policy NAME` makes one"
    return f"is {kind}; expected a folder that holds {LAYOUT}, each with a manifest; {made}."


def _serve_above(bundle: Path, given: Path) -> str:
    """What to give instead of a bundle."""
    if is_version_name(bundle.name) and len(bundle.parents) > 2:
        return _serve_instead(bundle.parent.parent, given)
    return f"move it to {LAYOUT} and give `rlway serve` that folder models."


def _serve_instead(models: Path, given: Path) -> str:
    shown = str(models) if given.is_absolute() else os.path.relpath(models)
    return f"give the folder above the policies: `rlway serve {shlex.quote(shown)}`."


def _export_first(source: Path) -> str:
    command = f"rlway export {shlex.quote(str(source))} --models models --policy NAME"
    return f"export it, then serve what comes of it: `{command}`, `rlway serve models`."


def _bundles(models: Path) -> Iterator[Path]:
    """Every `<policy>/<version>/manifest.json` below it, without folders that cannot be read."""
    with os.scandir(models) as entries:
        policies = [Path(entry.path) for entry in entries]
    for policy in policies:
        with suppress(OSError):
            yield from _manifests(policy)


def _manifests(policy: Path) -> Iterator[Path]:
    with os.scandir(policy) as entries:
        names = [entry.name for entry in entries if is_version_name(entry.name)]
    for name in names:
        with suppress(OSError):
            if (policy / name / MANIFEST).is_file():
                yield policy / name / MANIFEST
