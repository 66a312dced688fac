"""The contract that all stages share: specs and their faults, manifests, bundles on disk, and exploration's noise."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rlway_client import Bundle, Explore, Manifest, TensorSpec
from rlway_client.common.files import FolderTaken, folder_that_appears_whole, write_atomically
from rlway_client.contract.bundle import bundle_versions, newest_bundle
from rlway_client.contract.errors import BundleInvalid, SpecViolated, UsageError
from rlway_client.contract.exploration import check_explore, draw_noise
from rlway_client.contract.manifest import FILE_NAME, Parity, check_policy_name, decode_manifest, encode_manifest
from rlway_client.contract.specs import compact_bound, find_faults, find_lookup_faults, make_spec
from tests.bundles import linear_policy

THOROUGH = settings(max_examples=100, derandomize=True, deadline=None, database=None)
NAN = float("nan")
DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint64", "bool"]
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=20)


@st.composite
def specs(draw: st.DrawFn, names: st.SearchStrategy[str] = TEXT) -> TensorSpec:
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    bound = st.none() | FINITE | st.lists(st.none() | FINITE, min_size=math.prod(shape), max_size=math.prod(shape))
    path = tuple(draw(st.lists(TEXT, max_size=2)))
    return TensorSpec(draw(names), shape, draw(st.sampled_from(DTYPES)), draw(bound), draw(bound), path)


def some_specs(kind: str, most: int, least: int = 0) -> st.SearchStrategy[list[TensorSpec]]:
    """Tensors of different names, at different places."""

    def apart(found: list[TensorSpec]) -> list[TensorSpec]:
        return [replace(spec, name=f"{kind}_{i}{spec.name}", path=(str(i), *spec.path)) for i, spec in enumerate(found)]

    return st.lists(specs(), min_size=least, max_size=most).map(apart)


MANIFESTS = st.builds(
    Manifest,
    schema_version=st.just(1),
    policy=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    version=st.integers(1, 2**53),
    algorithm=TEXT,
    env=st.none() | TEXT,
    observation=some_specs("seen", 3, 1) | specs().map(lambda spec: [replace(spec, path=())]),
    action=specs(st.just("action")),
    noise=st.none() | st.integers(1, 4).map(lambda n: TensorSpec("noise", (n,), "float32")),
    state=some_specs("state", 1),
    outputs=some_specs("output", 2),
    training=st.dictionaries(
        TEXT, st.none() | st.booleans() | FINITE | TEXT | st.integers(-(2**53), 2**53), max_size=3
    ),
    parity=st.lists(
        st.builds(
            Parity,
            file=TEXT,
            observations=st.integers(0, 10**6),
            batch_sizes=st.lists(st.integers(1, 256), max_size=3),
            max_difference=FINITE,
            mean_difference=FINITE,
            argmax_flips=st.integers(0, 10**6),
            smallest_flip_gap=st.none() | FINITE,
            passed=st.booleans(),
            threshold=TEXT,
        ),
        max_size=2,
    ),
    files=st.dictionaries(TEXT.filter(FILE_NAME.fullmatch), TEXT, max_size=3),
    versions=st.dictionaries(TEXT, TEXT, max_size=3),
    created=TEXT,
)


@THOROUGH
@given(manifest=MANIFESTS)
def test_a_manifest_survives_its_file(manifest: Manifest) -> None:
    """What is written is what is read."""
    assert decode_manifest(encode_manifest(manifest), "here") == manifest


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, True, [1]])
def test_another_schema_is_refused(tmp_path: Path, version: object) -> None:
    """By its number, with the place of the file; also when the number is missing."""
    raw = json.loads((linear_policy(tmp_path).path / "manifest.json").read_bytes()) | {"schema_version": version}
    if version is None:
        del raw["schema_version"]
    with pytest.raises(BundleInvalid, match=r"here: .*schema.version"):
        decode_manifest(json.dumps(raw).encode(), "here")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b"null", b"\xff", b'{"schema_version": 1}'])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    """In one sentence with the place."""
    with pytest.raises(BundleInvalid, match="here: "):
        decode_manifest(content, "here")


@pytest.mark.parametrize("name", ["", ".hidden", "-dash", "a/b", "a b", "é", "a" * 65, "a\n"])
def test_names_that_would_not_do_as_folders_are_refused(name: str) -> None:
    """Policy names become paths and URLs."""
    with pytest.raises(UsageError):
        check_policy_name(name)


@THOROUGH
@given(data=st.data())
def test_bounds_survive_being_compacted(data: st.DataObject) -> None:
    """`make_spec` from arrays, then `bounds()`: the same arrays, infinite where they were."""
    shape = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    element = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([math.inf, -math.inf])
    flat = st.lists(element, min_size=math.prod(shape), max_size=math.prod(shape))
    low, high = (np.array(data.draw(flat), np.float32).reshape(shape) for _ in range(2))
    low[low == math.inf], high[high == -math.inf] = -math.inf, math.inf
    spec = make_spec("observation", shape, "float32", low, high)
    for found, given_bound in zip(spec.bounds(), (low, high), strict=True):
        assert found.shape == shape
        np.testing.assert_array_equal(found, given_bound.astype(np.float64))


def test_equal_bounds_are_one_number() -> None:
    """And the ends of float32, which spaces use for infinity, are None."""
    assert compact_bound(np.full((2, 3), -2.5)) == -2.5
    assert compact_bound([-1.0, math.inf]) == [-1.0, None]
    assert compact_bound(np.finfo(np.float32).max) is None


@pytest.mark.parametrize(
    ("value", "spec", "paths"),
    [
        ([1, 2.5, -3, 0], ((4,), "float32"), []),
        ([1, 2, 3, NAN], ((4,), "float32"), ["x[3]"]),
        ([1e39, "a", None, True], ((4,), "float32"), ["x[0]", "x[1]", "x[2]", "x[3]"]),
        ([[1, 2], [3, NAN]], ((2, 2), "float32"), ["x[1][1]"]),
        ([[1, 2], [3]], ((2, 2), "float32"), ["x[1]"]),
        ([[1, 2], 3], ((2, 2), "float32"), ["x[1]"]),
        ([1e39, 1e308], ((2,), "float64"), []),
        ([70_000, 1], ((2,), "float16"), ["x[0]"]),
        ([0, 255, 256, -1], ((4,), "uint8"), ["x[2]", "x[3]"]),
        ([1.0, 1.5, NAN, math.inf], ((4,), "int64"), ["x[1]", "x[2]", "x[3]"]),
        ([2**63 - 1, 2**63], ((2,), "int64"), ["x[1]"]),
        ([True, False, 1, 0.0], ((4,), "bool"), ["x[2]", "x[3]"]),
        (3, ((), "int64"), []),
        ([3], ((), "int64"), ["x"]),
    ],
    ids=str,
)
def test_faults_are_found_where_they_are(value: Any, spec: tuple[tuple[int, ...], str], paths: list[str]) -> None:
    """Each by its path, for every kind of dtype."""
    assert [fault.path for fault in find_faults(value, TensorSpec("x", *spec), "x")] == paths


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1_234_567, "0 to 1234567"),
        (None, 9, "at most 9"),
        (-3, None, "at least -3"),
        ([0, None, -5], [9, None, -1], "-5 to -1"),
    ],
)
@pytest.mark.parametrize("value", [[0, 0, 2_000_000], [0, 0, -2_000_000]], ids=["above", "below"])
def test_what_is_in_no_table_is_told_with_the_table(low: Any, high: Any, expected: str, value: list[int]) -> None:
    """Lists and arrays alike; where no bound is on that side, any value is looked up."""
    spec = TensorSpec("x", (3,), "int32", lookup_minimum=low, lookup_maximum=high)
    outside = high is not None if value[2] > 0 else low is not None
    sentence = f"x[2]: expected {expected}, as the policy looks it up in a table, got {value[2]}"
    assert [fault.sentence for fault in find_faults(value, spec, "x")] == [sentence] * outside
    found = find_lookup_faults(np.array(value, np.int32), spec, "x")
    assert [fault.sentence for fault in found] == [sentence] * outside


def test_few_of_many_faults_are_enough() -> None:
    """An image of NaN is not walked to its end."""
    assert len(find_faults([[NAN] * 84] * 84, TensorSpec("x", (84, 84), "float32"), "x")) == 20


@THOROUGH
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=12,
    ),
    spec=specs(),
)
def test_any_value_either_fits_or_has_faults(value: Any, spec: TensorSpec) -> None:
    """What has no fault becomes an array of the spec's shape and dtype, finite; nothing raises."""
    if not find_faults(value, spec, "x"):
        array = np.array(value, spec.numpy_dtype)
        assert array.shape == spec.shape
        assert np.isfinite(array).all()


def test_a_bundle_is_verified_when_opened(tmp_path: Path) -> None:
    """The first file that differs is named; without `verify` the manifest alone is read."""
    bundle = linear_policy(tmp_path)
    assert Bundle.open(bundle.path) == bundle
    model = bundle.path / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(BundleInvalid, match=r"model\.onnx.*SHA-256"):
        Bundle.open(bundle.path)
    assert Bundle.open(bundle.path, verify=False) == bundle
    model.unlink()
    with pytest.raises(BundleInvalid, match=r"model\.onnx.*missing"):
        Bundle.open(bundle.path)
    with pytest.raises(BundleInvalid, match="nowhere"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleInvalid, match=r"manifest\.json"):
        Bundle.open(tmp_path)


def test_versions_are_numbers_and_the_newest_is_first(tmp_path: Path) -> None:
    """Drafts, names and leading zeros do not count."""
    for name in ["1", "2", "10", "03", "0", ".11.draft", "latest", "-1", "٣"]:
        (tmp_path / name).mkdir()
    (tmp_path / "12").touch()
    assert bundle_versions(tmp_path) == [10, 2, 1]
    assert newest_bundle(tmp_path) == tmp_path / "10"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    """Nothing is visible before its time; then all is, and nothing else is left."""
    path = tmp_path / "models" / "policy" / "1"
    with folder_that_appears_whole(path) as draft:
        (draft / "file").write_text("content")
        assert not path.exists()
        assert bundle_versions(path.parent) == []
    assert (path / "file").read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_whose_making_fails_never_appears(tmp_path: Path) -> None:
    """Neither it nor the draft nor the parents that were made for it."""
    with (
        pytest.raises(KeyboardInterrupt),
        folder_that_appears_whole(tmp_path / "models" / "policy" / "1") as draft,
    ):
        (draft / "file").write_text("content")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "theirs"], ids=["empty", "filled"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_folder_that_exists_is_left_alone(tmp_path: Path, content: str | None, when: str) -> None:
    """FolderTaken, whenever the other came to be; what it holds stays, and no draft is left."""
    path = tmp_path / "1"

    def publish() -> None:
        path.mkdir()
        if content:
            (path / "file").write_text(content)

    if when == "before":
        publish()
    with pytest.raises(FolderTaken), folder_that_appears_whole(path) as draft:
        (draft / "file").write_text("ours")
        if when == "meanwhile":
            publish()
    assert [file.read_text() for file in path.iterdir()] == ([content] if content else [])
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    """Old or new, never between; nothing is left beside it, and others may read it."""
    path = tmp_path / "labels.json"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


SEEDS = st.integers(0, 2**63 - 1)
EXPLORATIONS = st.one_of(
    st.builds(Explore, epsilon=st.floats(0, 1)),
    st.builds(Explore, temperature=st.floats(0, 1e6)),
    st.builds(Explore, sigma=st.floats(0, 1e6)),
)


@THOROUGH
@given(explore=EXPLORATIONS, rows=st.integers(1, 20), n=st.integers(1, 8), seed=SEEDS)
def test_noise_is_finite_and_decided_by_its_generator(explore: Explore, rows: int, n: int, seed: int) -> None:
    """float32[rows, n] without NaN or infinity, and the same from an equal generator."""
    noise = draw_noise(explore, rows, n, np.random.default_rng(seed))
    assert noise.shape == (rows, n)
    assert noise.dtype == np.float32
    assert np.isfinite(noise).all()
    np.testing.assert_array_equal(noise, draw_noise(explore, rows, n, np.random.default_rng(seed)))


@pytest.mark.parametrize("explore", [Explore(epsilon=0), Explore(temperature=0), Explore(sigma=0)])
def test_exploring_by_nothing_is_no_noise(explore: Explore) -> None:
    """Zero noise is the greedy action."""
    assert not draw_noise(explore, 100, 3, np.random.default_rng(0)).any()


@THOROUGH
@given(rows=st.integers(1, 50), n=st.integers(1, 8), seed=SEEDS)
def test_epsilon_one_forces_one_action_of_each_row(rows: int, n: int, seed: int) -> None:
    """One entry of each row lies above any Q-value, the others are zero."""
    noise = draw_noise(Explore(epsilon=1.0), rows, n, np.random.default_rng(seed))
    assert (np.count_nonzero(noise, axis=1) == 1).all()
    assert noise.max(axis=1).min() > 1e29


def test_gumbel_noise_samples_the_softmax() -> None:
    """argmax(q + noise) has the frequencies of softmax(q / T)."""
    q, temperature = np.array([1.0, 2.0, 0.5]), 0.7
    noise = draw_noise(Explore(temperature=temperature), 50_000, 3, np.random.default_rng(0))
    found = np.bincount((q + noise).argmax(axis=1), minlength=3) / 50_000
    expected = np.exp(q / temperature) / np.exp(q / temperature).sum()
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_only_what_the_action_space_has_may_be_explored() -> None:
    """Discrete: epsilon or temperature; continuous: sigma; without a noise input nothing."""
    noise = TensorSpec("noise", (2,), "float32")
    discrete, continuous = TensorSpec("action", (), "int64", 0, 1), TensorSpec("action", (2,), "float32", -2, 2)
    check_explore(Explore(epsilon=0.5), discrete, noise)
    check_explore(Explore(temperature=0.5), discrete, noise)
    check_explore(Explore(sigma=0.5), continuous, noise)
    for explore, action, given_noise in [
        (Explore(sigma=0.5), discrete, noise),
        (Explore(epsilon=0.5), continuous, noise),
        (Explore(epsilon=0.5, temperature=1), discrete, noise),
        (Explore(), discrete, noise),
        (Explore(epsilon=1.01), discrete, noise),
        (Explore(temperature=NAN), discrete, noise),
        (Explore(sigma=-1), continuous, noise),
        (Explore(epsilon=0.5), discrete, None),
    ]:
        with pytest.raises(SpecViolated, match="explore"):
            check_explore(explore, action, given_noise)
