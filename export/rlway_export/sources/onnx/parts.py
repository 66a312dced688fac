"""The files of which an ONNX model consists, found without checking it.

In:      an ONNX file, or the YAML file of LEAPP's bundle.
Out:     that file first, then the others that it names and that are there: weights, models, initial values.
Refuses: nothing: what cannot be read names no others.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from rlway_client.contract.errors import RunInvalid
from rlway_export.sources.kinds import ONNX_SUFFIX
from rlway_export.sources.onnx.external import external_files
from rlway_export.sources.onnx.file import parse_onnx
from rlway_export.sources.onnx.leapp import leapp_file, leapp_parts


def model_files(path: Path) -> list[Path]:
    """None if there is nothing yet."""
    if not path.is_file():
        return []
    if path.suffix.lower() == ONNX_SUFFIX:
        return [path, *_weights(path)]
    with suppress(RunInvalid, OSError, ValueError, AttributeError):
        models, values = leapp_parts(path)
        named = [*models, *(file for model in models for file in _weights(model)), *values]
        return [path, *(file for file in dict.fromkeys(named) if file.is_file())]
    return [path]


def pipeline_files(path: Path) -> list[Path]:
    """Those of the bundle that a folder or a YAML file is now."""
    pipeline = leapp_file(path)
    return [] if pipeline is None else model_files(pipeline)


def _weights(path: Path) -> list[Path]:
    with suppress(OSError):
        told = path.stat()
        return [file for file in _named(path, told.st_ino, told.st_size, told.st_mtime_ns) if file.is_file()]
    return []


@lru_cache(maxsize=32)  # whoever follows a file asks every second
def _named(path: Path, *_: int) -> list[Path]:
    """By the file's inode, size and time: another file may name others."""
    with suppress(RunInvalid, OSError):
        return external_files(parse_onnx(path), path)
    return []
