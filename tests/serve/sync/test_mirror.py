"""However a store fails, the copies in the local folder are whole, verified, and inside that folder."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import RuntimeMissing, UsageError
from rlway_client.contract.labels import MAX_LABELS_BYTES
from rlway_serve.registry.models_folder import REFUSED_FILE
from rlway_serve.sync import mirror as mirror_module
from rlway_serve.sync.mirror import Mirror
from rlway_serve.sync.store import Store, StoreFailed, is_url
from tests.bundles import linear_policy
from tests.serve.registry.test_startup import edit_manifest, flip_a_byte, replace_model

Copying = Callable[[str, str], None]
Opening = Callable[[str], None]


class FaultyStore(LocalFileSystem):  # type: ignore[misc]
    """A local folder that plays a remote store whose failures a test controls."""

    protocol = "faulty"
    copying: Copying | None = None  # called with source and destination before each copy
    copied: list[str]
    cut_bytes: int = 0  # missing at the end of each copy, without an error
    opening: Opening | None = None  # called with the path before each read
    unlisted: Exception | None = None
    strangers: list[str]  # names that the store claims to be in every folder

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(str(path).removeprefix("faulty://"))
        return stripped

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> list[Any]:
        if FaultyStore.unlisted is not None:
            raise FaultyStore.unlisted
        listed: list[Any] = super().ls(path, detail=detail, **kwargs)
        return listed + [{"name": f"{path}/{name}", "type": "directory", "size": 0} for name in FaultyStore.strangers]

    def open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        if FaultyStore.opening is not None:
            FaultyStore.opening(path)
        return super().open(path, mode, *args, **kwargs)

    def get_file(self, path1: str, path2: str, callback: Any = None, **kwargs: Any) -> None:
        FaultyStore.copied.append(path1)
        if FaultyStore.copying is not None:
            FaultyStore.copying(path1, path2)
        super().get_file(path1, path2, callback, **kwargs)
        if FaultyStore.cut_bytes:
            os.truncate(path2, Path(path2).stat().st_size - FaultyStore.cut_bytes)


class Both:
    """A store's folder, the local folder, and a mirror between them without delays before retries."""

    def __init__(self, folder: Path) -> None:
        self.there, self.here = folder / "there", folder / "here"
        self.there.mkdir()
        self.here.mkdir()
        self.mirror = self.begin()

    def begin(self) -> Mirror:
        """Makes a new mirror, as a new process does."""
        return Mirror(Store(f"faulty://{self.there}"), self.here, keep_versions=1)

    def publish(self, *versions: int) -> None:
        for version in versions:
            linear_policy(self.there, version=version)

    def label(self, **labels: int) -> None:
        (self.there / "linear" / "labels.json").write_text(json.dumps(labels))

    @property
    def visible(self) -> list[int]:
        """The local versions; asserts that each is whole."""
        folder = self.here / "linear"
        versions = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.exists() else []
        for version in versions:
            Bundle.open(folder / str(version))
        return versions

    @property
    def labels(self) -> dict[str, int]:
        path = self.here / "linear" / "labels.json"
        labels: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return labels

    @property
    def refused(self) -> dict[str, str]:
        path = self.here / "linear" / REFUSED_FILE
        faults: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return faults


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    fsspec.register_implementation("faulty", FaultyStore, clobber=True)
    monkeypatch.setattr(mirror_module, "FIRST_DELAY_S", 0.0)
    FaultyStore.copying, FaultyStore.copied, FaultyStore.cut_bytes = None, [], 0
    FaultyStore.opening, FaultyStore.unlisted, FaultyStore.strangers = None, None, []
    return Both(tmp_path)


def test_the_newest_the_labelled_and_their_stand_ins_are_copied(both: Both) -> None:
    """Others are not. A version that is no longer needed is removed after the needed ones have come."""
    both.publish(*range(1, 21))
    both.mirror.follow()
    assert both.visible == [18, 19, 20]
    both.label(stable=10, canary=15)
    both.mirror.follow()
    assert both.visible == [8, 9, 10, 15, 18, 19, 20]
    assert both.labels == {"stable": 10, "canary": 15}
    (both.there / "linear" / "labels.json").unlink()
    both.publish(21)
    both.mirror.follow()
    assert (both.visible, both.labels) == ([19, 20, 21], {})


def test_what_vanishes_from_the_store_vanishes_here(both: Both) -> None:
    """First a version, then its policy; a label that names nothing is copied as it is."""
    both.publish(1, 2)
    linear_policy(both.there, "other")
    both.mirror.follow()
    shutil.rmtree(both.there / "linear" / "2")
    both.label(stable=2)
    both.mirror.follow()
    assert (both.visible, both.labels) == ([1], {"stable": 2})
    shutil.rmtree(both.there / "linear")
    both.mirror.follow()
    assert [path.name for path in both.here.iterdir()] == ["other"]


def test_a_version_is_not_visible_before_its_last_byte(both: Both) -> None:
    """During the copy a reader sees the state before it."""
    both.publish(1)
    both.mirror.follow()
    seen = []
    FaultyStore.copying = lambda *_: seen.append(both.visible)
    both.publish(2)
    both.mirror.follow()
    assert (seen, both.visible) == ([[1]], [1, 2])


def test_a_truncated_copy_is_told_once_and_made_again(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    """Repeated failures give one line in the log; the version comes once a copy is whole."""
    both.publish(1)
    FaultyStore.cut_bytes = 1
    for _ in range(3):
        both.mirror.follow()
    assert both.visible == []
    assert both.refused["1"].startswith("model.onnx: damaged: expected SHA-256")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert len(FaultyStore.copied) == 3
    FaultyStore.cut_bytes = 0
    both.mirror.follow()
    assert (both.visible, both.refused) == ([1], {})


def test_what_fails_again_and_again_is_left_alone_for_longer(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged version is not copied at every look, but at once when its manifest changes."""
    monkeypatch.setattr(mirror_module, "FIRST_DELAY_S", 3600.0)
    both.publish(1)
    bundle = both.there / "linear" / "1"
    whole = (bundle / "model.onnx").read_bytes()
    flip_a_byte(bundle)
    for _ in range(3):
        both.mirror.follow()
    assert len(FaultyStore.copied) == 1
    (bundle / "model.onnx").write_bytes(whole)
    edit_manifest(bundle, notes=["mended"])
    both.mirror.follow()
    assert both.visible == [1]


def test_a_growing_upload_is_told_once_and_rests(
    both: Both, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its files differ at each look, but count as one fault. It is tried at growing intervals, and never forgotten."""
    both.publish(1)
    model = both.there / "linear" / "1" / "model.onnx"
    whole, delays_s = model.read_bytes(), []
    monkeypatch.setattr(mirror_module, "MAX_DELAY_S", 0.004)
    monkeypatch.setattr(mirror_module, "FIRST_DELAY_S", 0.001)
    for size in (10, 20, 30, 40):
        model.write_bytes(whole[:size])
        copies = len(FaultyStore.copied)
        while len(FaultyStore.copied) == copies:
            both.mirror.follow()
        delays_s.append(both.mirror._refused["linear", 1].delay_s)
    assert delays_s == [0.001, 0.002, 0.004, 0.004]
    assert len(caplog.records) == 1


def test_a_version_that_becomes_what_it_was_is_no_failure(both: Both) -> None:
    """The store has the copied version again, after another one under its number was refused."""
    both.publish(1)
    both.mirror.follow()
    bundle = both.there / "linear" / "1"
    manifest, model = (bundle / "manifest.json").read_bytes(), (bundle / "model.onnx").read_bytes()
    edit_manifest(bundle, notes=["another"])
    flip_a_byte(bundle)
    both.mirror.follow()
    assert list(both.refused) == ["1"]
    (bundle / "manifest.json").write_bytes(manifest)
    (bundle / "model.onnx").write_bytes(model)
    both.mirror.follow()
    assert (both.visible, both.refused) == ([1], {})


def test_a_manifest_that_cannot_be_read_costs_its_own_version(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    """Alone or among others, it is logged once, and an existing copy stays."""
    both.publish(1, 2)
    both.mirror.follow()
    both.publish(3, 4)
    manifests = [both.there / "linear" / version / "manifest.json" for version in ("1", "4")]
    contents = [manifest.read_bytes() for manifest in manifests]
    for manifest in manifests:
        manifest.unlink()
        manifest.mkdir()
    for _ in range(2):
        both.mirror.follow()
    assert both.visible == [1, 2, 3]
    assert all(both.refused[version].startswith("manifest.json: IsADirectoryError") for version in ("1", "4"))
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2
    for manifest, content in zip(manifests, contents, strict=True):
        manifest.rmdir()
        manifest.write_bytes(content)
    both.mirror.follow()
    assert (both.visible, both.refused) == ([2, 3, 4], {})


def test_the_only_version_shows_when_its_manifest_cannot_be_read(both: Both) -> None:
    """It is refused, although the store may be at fault as well."""
    (both.there / "linear" / "1" / "manifest.json").mkdir(parents=True)
    both.mirror.follow()
    assert list(both.refused) == ["1"]


@pytest.mark.parametrize("listed", [True, False])
def test_an_outage_in_the_middle_of_a_look_is_the_fault_of_no_version(
    both: Both, listed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether or not folders can still be listed: one error, nothing removed, no version refused."""
    both.publish(*range(1, 4))
    linear_policy(both.there, "other")
    both.mirror.follow()
    both.publish(*range(4, 20))
    caplog.clear()

    def fail(_path: str) -> None:
        FaultyStore.unlisted = None if listed else OSError("unreachable")
        raise OSError("unreachable")

    FaultyStore.opening = fail
    with pytest.raises(StoreFailed, match="unreachable"):
        both.mirror.follow()
    assert (both.visible, both.refused, caplog.records) == ([1, 2, 3], {}, [])


@pytest.mark.parametrize("error", [OSError("connection reset"), TimeoutError(), RuntimeError("of the library's own")])
def test_a_failing_copy_holds_up_no_other(both: Both, error: Exception) -> None:
    """A file that cannot be read costs only its own version."""

    def fail(source: str, destination: str) -> None:
        if "/3/" in source:
            Path(destination).write_bytes(b"some of it")
            raise error

    both.publish(1, 2, 3)
    FaultyStore.copying = fail
    both.mirror.follow()
    assert both.visible == [1, 2]
    assert type(error).__name__ in both.refused["3"]
    FaultyStore.copying = None
    both.mirror.follow()
    assert both.visible == [1, 2, 3]


def test_a_version_that_vanishes_while_it_is_copied_leaves_nothing(both: Both) -> None:
    """No part of it stays here, and the fault disappears with it."""
    both.publish(1, 2)
    FaultyStore.copying = lambda source, _: shutil.rmtree(Path(source).parent) if "/2/" in source else None
    both.mirror.follow()
    assert (both.visible, list(both.refused)) == ([1], ["2"])
    both.mirror.follow()
    assert both.refused == {}
    assert not (both.here / mirror_module.DRAFT).exists()


def test_a_version_without_its_manifest_waits_for_it(both: Both) -> None:
    """Object stores have no rename: files arrive one by one, and the manifest at any time."""
    both.publish(1)
    for missing in ("manifest.json", "model.onnx"):
        path = both.there / "linear" / "1" / missing
        content = path.read_bytes()
        path.unlink()
        both.mirror.follow()
        assert (both.visible, "1" in both.refused) == ([], True)
        path.write_bytes(content)
    both.mirror.follow()
    assert both.visible == [1]


@pytest.mark.parametrize("error", [OSError("unreachable"), FileNotFoundError("bucket"), PermissionError("denied")])
def test_a_store_that_cannot_be_listed_is_not_an_empty_one(both: Both, error: Exception) -> None:
    """However listing fails, nothing is removed."""
    both.publish(1)
    both.mirror.follow()
    FaultyStore.unlisted = error
    with pytest.raises(StoreFailed, match="cannot be read"):
        both.mirror.follow()
    assert both.visible == [1]


@pytest.mark.parametrize("mark", ["..", ".", "", "/etc", "a\\b", "-x", "x" * 65, "a b", "\0"])
def test_names_from_the_store_stay_in_their_folder(both: Both, mark: str) -> None:
    """Listed names that are neither policies nor versions never become part of a path."""
    both.publish(1)
    linear_policy(both.there.parent, "outside")
    FaultyStore.strangers = [mark, f"{mark}/outside", f"{mark}/../outside", f"../{both.here.name}"]
    before = sorted(path.name for path in both.here.parent.iterdir())
    both.mirror.follow()
    assert both.visible == [1]
    assert [path.name for path in both.here.iterdir()] == ["linear"]
    assert sorted(path.name for path in both.here.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["../../../escaped", "/tmp/escaped", "a/../../../../escaped", "./x", "a//b", "", "\0"])
def test_names_in_a_manifest_stay_in_their_bundle(both: Both, name: str) -> None:
    """A manifest that lists a file elsewhere is refused before anything is copied."""
    both.publish(1)
    bundle = both.there / "linear" / "1"
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    edit_manifest(bundle, files=files | {name: files["model.onnx"]})
    both.mirror.follow()
    assert (both.visible, FaultyStore.copied) == ([], [])
    assert "not the name of a file within the bundle" in both.refused["1"]


def test_a_version_that_is_replaced_is_copied_anew(both: Both) -> None:
    """Another version with the same number replaces the copy; if it is damaged, the old copy stays."""
    both.publish(1)
    both.mirror.follow()
    bundle = both.there / "linear" / "1"
    edit_manifest(bundle, notes=["another"])
    both.mirror.follow()
    assert Bundle.open(both.here / "linear" / "1").manifest.notes == ["another"]
    replace_model(bundle, (bundle / "model.onnx").read_bytes() + b"more")
    flip_a_byte(bundle)
    both.mirror.follow()
    assert Bundle.open(both.here / "linear" / "1").manifest.notes == ["another"]
    assert list(both.refused) == ["1"]


def test_a_label_that_moves_to_what_cannot_be_copied_stays_where_it_was(both: Both) -> None:
    """The old labels stay until the version is whole. Without any local version the new labels are copied."""
    both.publish(1, 2)
    both.label(stable=1)
    flip_a_byte(both.there / "linear" / "2")
    both.mirror.follow()
    both.label(stable=2)
    both.mirror.follow()
    assert (both.visible, both.labels) == ([1], {"stable": 1})
    shutil.rmtree(both.there / "linear" / "2")
    both.publish(2)
    both.mirror.follow()
    assert (both.visible, both.labels) == ([1, 2], {"stable": 2})


def test_labels_of_before_keep_what_they_name(both: Both) -> None:
    """A version that the old labels name stays, however old it is, until the new labels are in force."""
    both.publish(*range(1, 21))
    both.label(stable=10)
    both.mirror.follow()
    flip_a_byte(both.there / "linear" / "5")
    both.label(stable=5)
    for mirror in (both.mirror, both.begin()):
        mirror.follow()
        assert both.labels == {"stable": 10}
        assert both.visible == [8, 9, 10, 18, 19, 20]


def test_labels_that_are_listed_but_not_found_are_not_gone(both: Both) -> None:
    """The newest version is not activated until a listing shows that the labels are gone."""
    both.publish(1, 2)
    both.label(stable=1)
    both.mirror.follow()
    (both.there / "linear" / "labels.json").unlink()
    FaultyStore.strangers = ["labels.json"]
    with pytest.raises(StoreFailed, match=r"linear/labels\.json is listed, yet not found"):
        both.mirror.follow()
    assert both.labels == {"stable": 1}
    FaultyStore.strangers = []
    both.mirror.follow()
    assert both.labels == {}


def test_labels_come_before_what_is_newer(both: Both) -> None:
    """With two versions and a label for the older, the newer one is never here without the label."""
    seen = {}
    FaultyStore.copying = lambda source, _: seen.update({Path(source).parent.name: both.labels})
    both.publish(1, 2)
    both.label(stable=1)
    both.mirror.follow()
    assert seen == {"1": {}, "2": {"stable": 1}}


def test_labels_that_cannot_be_read_keep_what_they_named(both: Both) -> None:
    """A faulty file is copied, so that the server reports it; of a huge one only as much as that needs."""
    both.publish(*range(1, 10))
    both.label(stable=2)
    both.mirror.follow()
    for content in ("{", "[" * 100_000, json.dumps({f"l{i}": 1 for i in range(100_000)})):
        (both.there / "linear" / "labels.json").write_text(content)
        both.mirror.follow()
        assert both.visible == [1, 2, 7, 8, 9]
        assert (both.here / "linear" / "labels.json").read_text() == content[: MAX_LABELS_BYTES + 1]


def test_copies_of_an_earlier_process_are_taken_where_they_are_sound(both: Both) -> None:
    """Copies in a kept cache are verified; damaged ones are copied again, and unfinished ones removed."""
    both.publish(1, 2)
    both.mirror.follow()
    flip_a_byte(both.here / "linear" / "1")
    (both.here / mirror_module.DRAFT / "new").mkdir(parents=True)
    FaultyStore.copied.clear()
    both.begin().follow()
    assert [Path(path).parent.name for path in FaultyStore.copied] == ["1"]
    assert both.visible == [1, 2]
    assert not (both.here / mirror_module.DRAFT).exists()


@pytest.mark.parametrize("taken", [False, True])
def test_a_version_goes_back_where_its_successor_did_not_come(both: Both, taken: bool) -> None:
    """A process killed between two renames leaves it aside; the next one moves it back, also without the store."""
    both.publish(1)
    both.mirror.follow()
    here = both.here / "linear" / "1"
    beside = both.here / mirror_module.DRAFT / mirror_module.REPLACED / "linear" / "1"
    beside.parent.mkdir(parents=True)
    shutil.copytree(here, beside) if taken else here.rename(beside)
    (both.here / "linear" / ".labels.json.draft").write_bytes(b"half of")
    both.there.rename(both.there.with_name("away"))
    with pytest.raises(StoreFailed):
        both.begin().follow()
    assert both.visible == [1]
    assert [path.name for path in both.here.iterdir()] == ["linear"]
    assert [path.name for path in (both.here / "linear").iterdir()] == ["1"]


def test_a_policy_that_cannot_be_read_holds_up_no_other(both: Both) -> None:
    """Its labels.json is a folder, which is an error; its neighbour is copied."""
    (both.there / "broken" / "labels.json" / "x").mkdir(parents=True)
    both.publish(1)
    with pytest.raises(StoreFailed, match="IsADirectoryError"):
        both.mirror.follow()
    assert both.visible == [1]


def test_urls_are_told_from_paths() -> None:
    """Whatever fsspec takes for a URL is one, and no path from a shell is."""
    for url in ("s3://bucket/models", "file:///models", "simplecache::gs://bucket", "s3://b"):
        assert is_url(url)
    for path in ("models", "/models", "./a:b", "models/x::y", ".", "C:models"):
        assert not is_url(path)


def test_what_cannot_be_a_store_is_one_sentence() -> None:
    """An unknown protocol, or a missing package."""
    with pytest.raises(UsageError, match=r"^nosuch://bucket/models: not a URL"):
        Store("nosuch://bucket/models").connect()
    with pytest.raises(RuntimeMissing, match=r"^s3://bucket/models: needs a package that is not installed: .*s3fs"):
        Store("s3://bucket/models").connect()


def test_no_sentence_has_a_secret_in_it() -> None:
    """No user, password or signature is shown, neither of the URL nor in the message of a library."""
    store = Store("simplecache::https://me:hush@host.example/models?X-Signature=deadbeef")
    assert store.name == "simplecache::https://host.example/models?…"
    error = OSError("GET https://me:hush@host.example/models?X-Signature=deadbeef failed for hush")
    told = str(store._failed(error))
    assert "host.example/models" in told
    for secret in ("me:", "hush", "deadbeef"):
        assert secret not in told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://robot:p%40ss%2Fword@host/models", "login as robot with p@ss/word refused"),
        ("ftp://robot:p%40ss%2Fword@host/models", "x" * 285 + " with p%40ss%2Fword"),
        ("s3://bucket/models", "GET https://host/models?X-Signature=(a)'p@ss/word' failed"),
    ],
)
def test_what_a_library_says_of_secrets_is_left_out(url: str, told: str) -> None:
    """Whether encoded or decoded, at the end of a shortened message, or next to brackets."""
    sentence = Store(url)._quote(OSError(told))
    assert sentence.startswith("OSError: ")
    assert "p@ss" not in sentence
    assert "p%40ss" not in sentence
