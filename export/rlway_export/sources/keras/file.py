"""A file of a Keras network, read and checked before Keras builds anything of it.

In:      a `.keras` file (a zip archive), or an HDF5 file of a whole network.
Out:     `KerasFile`: the network's description and its weights, as bytes.
Refuses: what is no such file, a damaged one, weights without a network, one of Keras 3, code (RunInvalid,
         ExportRefused); weights in places that the file must not name, more of them than any policy has (RunInvalid).
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from rlway_client.common.quote import reason, short_name
from rlway_client.contract.errors import ExportRefused, RunInvalid
from rlway_export.sources.keras.config import check_code

HDF5 = b"\x89HDF\r\n\x1a\n"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MOST_BYTES = 2**31 - 1  # of the file; of the weights, once they are unpacked
READ_HERE = "2"  # the major version of Keras


class KerasFile(NamedTuple):
    """`weights` is an HDF5 file: that of the archive, or the whole file."""

    path: Path
    version: str  # of the Keras that wrote it
    config: dict[str, Any]
    weights: bytes
    is_archive: bool


def read_keras(path: Path) -> KerasFile:
    """Reads and checks the file, without TensorFlow."""
    if path.stat().st_size > MOST_BYTES:
        raise RunInvalid(f"{path}: expected a network of at most {MOST_BYTES} bytes, got more.")
    content = path.read_bytes()
    found = _of_hdf5(path, content) if content.startswith(HDF5) else _of_archive(path, content)
    major = found.version.partition(".")[0]
    if major != READ_HERE:
        raise ExportRefused(
            f"{path}: was written by Keras {found.version[:20]}, and is read here by Keras {READ_HERE}; where it was "
            f"written, make a SavedModel of it with model.export(FOLDER), and give that folder."
        )
    check_code(found.config, str(path))
    return found


def open_weights(file: KerasFile) -> Any:
    """The weights as an h5py.File, once every part of them is checked."""
    import h5py

    try:
        opened = h5py.File(io.BytesIO(file.weights), "r")
    except OSError as error:
        raise RunInvalid(f"{file.path}: its weights are damaged: {reason(error)}; save or copy it again.") from None
    _check_group(file.path, opened)
    return opened


def _of_archive(path: Path, content: bytes) -> KerasFile:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {info.filename: info.file_size for info in archive.infolist()}
            missing = next((name for name in (CONFIG, METADATA, WEIGHTS) if name not in members), None)
            if missing is not None:
                raise RunInvalid(f"{path}: has no {missing}, so it is no network of Keras; save or copy it again.")
            if sum(members[name] for name in (CONFIG, METADATA, WEIGHTS)) > MOST_BYTES:
                raise RunInvalid(f"{path}: expected a network of at most {MOST_BYTES} bytes, got more.")
            config, metadata, weights = (archive.read(name) for name in (CONFIG, METADATA, WEIGHTS))
        version = str(_object(metadata).get("keras_version"))
        return KerasFile(path, version, _object(config), weights, is_archive=True)
    except (zipfile.BadZipFile, ValueError, RecursionError, EOFError, OSError, NotImplementedError) as error:
        raise RunInvalid(
            f"{path}: is no network of Keras, or a damaged one: {reason(error)}; save or copy it again."
        ) from None


def _of_hdf5(path: Path, content: bytes) -> KerasFile:
    import h5py

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            attributes = {name: file.attrs.get(name) for name in ("model_config", "keras_version")}
    except OSError as error:
        raise RunInvalid(f"{path}: is a damaged HDF5 file: {reason(error)}; save or copy it again.") from None
    texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
    if not isinstance(texts["model_config"], str):
        raise RunInvalid(f"{path}: holds weights without a network; save the network itself: model.save('….keras').")
    try:
        config = _object(texts["model_config"])
    except (ValueError, RecursionError) as error:
        raise RunInvalid(f"{path}: its model_config is damaged: {reason(error)}; save or copy it again.") from None
    return KerasFile(path, str(texts["keras_version"]), config, content, is_archive=False)


def _object(text: str | bytes) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected an object, got {type(found).__name__}")
    return found


def _check_group(path: Path, file: Any) -> None:
    """No link may leave the file, and no data may lie outside of it."""
    import h5py

    total, seen, unseen = 0, set[int](), [file]
    while unseen:
        group = unseen.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise RunInvalid(f"{path}: its weights {short_name(name)} are a link; save the network again.")
            found = group[name]
            if isinstance(found, h5py.Group):
                unseen.append(found)
            elif not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
                raise RunInvalid(f"{path}: its weights {short_name(name)} lie in another file; save the network again.")
            else:
                total += found.nbytes if found.shape is not None else 0
    if total > MOST_BYTES:
        raise RunInvalid(f"{path}: expected weights of at most {MOST_BYTES} bytes, got {total}.")
