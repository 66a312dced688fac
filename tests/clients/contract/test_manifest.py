"""Manifests: what is written is read, and anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rlway_client import Manifest, TensorSpec
from rlway_client.contract.errors import BundleInvalid, UsageError
from rlway_client.contract.exploration import Explore, sampling_explore
from rlway_client.contract.interface import TIME_STEP, Draw, Interface
from rlway_client.contract.manifest import (
    FILE_NAME,
    Parity,
    check_policy_name,
    decode_manifest,
    encode_manifest,
    tensor_fields,
)
from tests.bundles import linear_policy
from tests.clients.contract.generated import FINITE, TEXT, THOROUGH, some_specs, specs

NOISY = st.lists(st.builds(Draw, st.sampled_from(["normal", "gumbel"]), st.integers(1, 4)), max_size=3)


def with_draws(manifest: Manifest, draws: list[Draw]) -> Manifest:
    """The manifest of a policy that draws, and acts by its draws where a request does not say."""
    if not draws:
        return manifest
    noise = TensorSpec("noise", (sum(draw.size for draw in draws),), "float32")
    return replace(manifest, noise=noise, draws=draws, explore=sampling_explore(draws))


MANIFESTS = st.builds(
    Manifest,
    schema_version=st.just(1),
    policy=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    version=st.integers(1, 2**53),
    algorithm=TEXT,
    env=st.none() | TEXT,
    observation=some_specs("seen", 3, 1) | specs().map(lambda spec: [replace(spec, path=())]),
    action=some_specs("action", 3, 1) | specs(st.just("action")).map(lambda spec: replace(spec, path=())),
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
    time_step=st.lists(st.sampled_from(sorted(TIME_STEP)), unique=True).map(
        lambda names: [TensorSpec(name, (), TIME_STEP[name]) for name in names]
    ),
    created=TEXT,
)


@THOROUGH
@given(manifest=st.builds(with_draws, MANIFESTS, NOISY))
def test_a_manifest_survives_its_file(manifest: Manifest) -> None:
    """What is written is what is read."""
    assert decode_manifest(encode_manifest(manifest), "here") == manifest


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, True, [1]])
def test_another_schema_is_refused(tmp_path: Path, version: object) -> None:
    """With its number and the manifest's place; also when the number is missing."""
    raw = json.loads((linear_policy(tmp_path).path / "manifest.json").read_bytes()) | {"schema_version": version}
    if version is None:
        del raw["schema_version"]
    with pytest.raises(BundleInvalid, match=r"here: .*schema.version"):
        decode_manifest(json.dumps(raw).encode(), "here")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b"null", b"\xff", b'{"schema_version": 1}'])
def test_anything_else_is_refused(content: bytes) -> None:
    """In one sentence, with its place."""
    with pytest.raises(BundleInvalid, match="here: "):
        decode_manifest(content, "here")


@pytest.mark.parametrize("name", ["", ".hidden", "-dash", "a/b", "a b", "é", "a" * 65, "a\n"])
def test_names_that_are_no_folder_names_are_refused(name: str) -> None:
    """Policy names become paths and URLs."""
    with pytest.raises(UsageError):
        check_policy_name(name)


def test_one_plain_action_is_no_list() -> None:
    """Its manifest is what it was before actions could have several parts; a tensor with a key is a list of one."""
    plain, keyed = TensorSpec("action", (), "int64"), TensorSpec("action_left", (), "int64", path=("left",))
    for actions, written in (([plain], plain), ([keyed], [keyed])):
        assert tensor_fields(Interface([plain], actions, None, [], []))["action"] == written


GEAR = TensorSpec("action_gear", (), "int64", 0, 2, ("gear",))
NOISE = TensorSpec("noise", (3,), "float32")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"action": [replace(GEAR, name="gear")]}, "action: expected the name 'action_…', got 'gear'"),
        ({"action": replace(GEAR, path=())}, "action: expected the name 'action', got 'action_gear'"),
        ({"action": [GEAR, replace(GEAR, name="action_2")]}, r"expected one tensor at the path .*gear.*, got 2"),
        ({"action": [GEAR, GEAR]}, "outputs: expected a name of its own for each, got 'action_gear' twice"),
        ({"action": []}, "Expected `array` of length >= 1"),
        ({"noise": NOISE, "draws": [Draw("normal", 2)]}, "draws: expected 3 numbers in all, as noise has, got 2"),
        ({"noise": None, "draws": [Draw("normal", 2)]}, "draws: expected 0 numbers in all"),
        ({"noise": None, "explore": Explore(sigma=1.0)}, "explore: .* exported without a noise input"),
        ({"noise": NOISE, "draws": [Draw("normal", 3)], "explore": Explore(epsilon=0.1)}, "explore: .* got epsilon"),
        ({"time_step": [TensorSpec("rewards", (), "float32")]}, "time_step: expected reward, discount, step_type"),
        ({"time_step": [TensorSpec("reward", (), "float64")]}, "time_step: .* got 'reward' or another type"),
        ({"action": [GEAR], "action_values": [1.0]}, "action_values: expected one per action, got 1 for int64"),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    """In one sentence that begins with its place."""
    manifest = replace(linear_policy(tmp_path).manifest, **changes)
    with pytest.raises(BundleInvalid, match=f"here: .*{says}") as refused:
        decode_manifest(encode_manifest(manifest), "here")
    assert len(str(refused.value)) < 300
