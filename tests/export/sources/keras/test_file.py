"""Files of Keras networks that are damaged, of another version, or more than a network."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlway_client.contract.errors import ExportRefused, RlwayError, RunInvalid
from rlway_export.sources.keras.file import KerasFile, open_weights, read_keras
from tests.export import networks


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network in both forms. Not to be changed."""
    folder = tmp_path_factory.mktemp("networks")
    for name in ("q.keras", "q.h5"):
        networks.save(networks.q_network(), folder / name)
    return folder


def rewritten(source: Path, path: Path, **changes: Any) -> Path:
    """An archive with other members; None leaves one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = changes.pop(name.partition(".")[0], old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in changes.items():
            new.writestr(name, content)
    return path


def with_weights(source: Path, path: Path, change: Callable[[Any], None]) -> Path:
    """An archive whose weights were changed."""
    with zipfile.ZipFile(source) as archive:
        buffer = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(buffer, "r+") as file:
        change(file)
    return rewritten(source, path, model=buffer.getvalue())


@pytest.mark.parametrize("name", ["q.keras", "q.h5"])
def test_both_forms_are_read(name: str, saved: Path) -> None:
    """With the version of Keras that wrote them."""
    found = read_keras(saved / name)
    assert found.version.startswith("2.")
    assert found.config["class_name"] == "Sequential"
    assert found.is_archive == (name == "q.keras")
    open_weights(found).close()


def test_a_file_is_known_by_its_content(saved: Path, tmp_path: Path) -> None:
    """An HDF5 file may have any name."""
    path = tmp_path / "q.keras"
    path.write_bytes((saved / "q.h5").read_bytes())
    assert not read_keras(path).is_archive


def _cut(saved: Path, path: Path) -> Path:
    path.write_bytes((saved / "q.keras").read_bytes()[:900])
    return path


def _cut_hdf5(saved: Path, path: Path) -> Path:
    path.write_bytes((saved / "q.h5").read_bytes()[:900])
    return path


def _weights_alone(_: Path, path: Path) -> Path:
    weights = path.with_name("q.weights.h5")
    networks.q_network().save_weights(weights)
    return weights


def _of_keras_3(saved: Path, path: Path) -> Path:
    return rewritten(saved / "q.keras", path, metadata=json.dumps({"keras_version": "3.4.1"}))


def _pickled(saved: Path, path: Path) -> Path:
    """Keras would unpickle these weights."""
    return rewritten(saved / "q.keras", path, model=None, **{"model.weights.npz": b"PK"})


REFUSED: dict[str, tuple[Callable[[Path, Path], Path], type[RlwayError], str]] = {
    "a cut archive": (_cut, RunInvalid, "is no network of Keras, or a damaged one: File is not a zip file; save"),
    "a cut HDF5 file": (_cut_hdf5, RunInvalid, "is a damaged HDF5 file: "),
    "weights alone": (_weights_alone, RunInvalid, "holds weights without a network; save the network itself"),
    "of Keras 3": (
        _of_keras_3,
        ExportRefused,
        r"was written by Keras 3\.4\.1, .* model\.export\(FOLDER\), and give that",
    ),
    "pickled weights": (_pickled, RunInvalid, r"has no model\.weights\.h5"),
    "a description that is none": (
        lambda saved, path: rewritten(saved / "q.keras", path, config=b"[" * 5000),
        RunInvalid,
        "damaged one: ",
    ),
    "a list": (
        lambda saved, path: rewritten(saved / "q.keras", path, config=b"[]"),
        RunInvalid,
        "expected an object, got list",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_read_is_refused(case: str, saved: Path, tmp_path: Path) -> None:
    """In one sentence that says what to do."""
    make, kind, expected = REFUSED[case]
    with pytest.raises(kind, match=expected):
        read_keras(make(saved, tmp_path / "odd.keras"))


def _replace(file: Any, make: Callable[[Any, str], None]) -> None:
    """Makes something else of the first dataset."""
    names: list[str] = []
    file.visititems(lambda name, found: names.append(name) if isinstance(found, h5py.Dataset) else None)
    del file[names[0]]
    make(file, names[0])


def _external_link(file: Any, name: str) -> None:
    file[name] = h5py.ExternalLink("/etc/passwd", "/")


def _soft_link(file: Any, name: str) -> None:
    file[name] = h5py.SoftLink("/elsewhere")


def _external_data(file: Any, name: str) -> None:
    file.create_dataset(name, (4, 16), "f4", external=[("/etc/passwd", 0, 256)])


def _gigantic(file: Any, name: str) -> None:
    file.create_dataset(name, (2**40,), "f4", chunks=(1024,))


def _wide(file: Any, name: str) -> None:
    """Few elements of a type with many bytes each."""
    file.create_dataset(name, (4,), f"S{2**30 - 1}", chunks=(1,))


def _circle(file: Any, name: str) -> None:
    file.create_dataset(name, data=np.zeros((4, 16), np.float32))
    file["again"] = file["/"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_external_link, "are a link"),
        (_soft_link, "are a link"),
        (_external_data, "lie in another file"),
        (_gigantic, "expected weights of at most 2147483647 bytes, got 4398046511"),
        (_wide, "expected weights of at most 2147483647 bytes, got 4294967"),
    ],
)
def test_weights_that_lie_elsewhere_are_refused(make: Any, expected: str, saved: Path, tmp_path: Path) -> None:
    """A file of the machine would become part of the bundle."""
    path = with_weights(saved / "q.keras", tmp_path / "odd.keras", lambda file: _replace(file, make))
    with pytest.raises(RunInvalid, match=expected):
        open_weights(read_keras(path))


def test_groups_in_a_circle_are_read_once(saved: Path, tmp_path: Path) -> None:
    """HDF5 allows a group to hold itself."""
    path = with_weights(saved / "q.keras", tmp_path / "odd.keras", lambda file: _replace(file, _circle))
    open_weights(read_keras(path)).close()


def test_damaged_weights_are_refused(saved: Path) -> None:
    """Those of an archive whose description is whole."""
    found: KerasFile = read_keras(saved / "q.keras")
    with pytest.raises(RunInvalid, match="its weights are damaged: "):
        open_weights(found._replace(weights=b"none"))
