"""Values that a policy looks up in a table: the manifest names exactly those, with the bounds of TF-Agents' policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import StepType, TimeStep

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.load.observations import sample_observations
from rlway_client.local.onnx_metadata import read_manifest
from rlway_client.local.runners import open_runner
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks.index_graph import IndexGraph
from rlway_export.checks.lookups import LookupFindings, find_lookups
from rlway_export.checks.observations import Observations
from rlway_export.formats.registry import parse_formats
from rlway_export.sources.tf_agents import SavedModelSource
from tests.conftest import SERVE, run_command
from tests.export import stock
from tests.export.checks.table_policies import Seen, embedding, policy, spec

pytestmark = pytest.mark.slow

LARGE = (70, 60)  # more elements than are tried separately
DICT = {"place": spec(0, 9, (2,)), "speed": spec(-1, 1, (1,), tf.float32)}
BEHIND = {"place": embedding(), "speed": tf.keras.layers.Flatten()}


def seen(way: str, observation: Any) -> Callable[[], Any]:
    return lambda: policy(Seen(way), observation)


class Case(NamedTuple):
    """A policy, and the values that TF-Agents' own policy can look up; None where it takes any."""

    make: Callable[[], Any]
    low: Any
    high: Any


# Outside of these TF-Agents' policies fail.
FAILING = {
    "embedding": Case(lambda: policy(embedding(), spec(0, 9)), 0, 9),
    "embedding of fewer than it has rows": Case(lambda: policy(embedding(12), spec(0, 9)), 0, 11),
    "embedding before a recurrent layer": Case(lambda: policy(embedding(), spec(0, 9), recurrent=True), 0, 9),
    "offset": Case(seen("offset", spec(100, 109)), 100, 109),
    "two tables": Case(seen("two tables", spec([0, -50, 0], [9, 50, 4])), [0, None, 0], [9, None, 4]),
    "a chain": Case(seen("a chain", spec(0, 7)), 0, 7),
    "a chain that narrows": Case(seen("a chain that narrows", spec(0, 4)), 0, 4),
    "a chain with steps": Case(seen("a chain with steps", spec(0, 11)), 0, 11),
    "in two dimensions": Case(seen("in two dimensions", spec([0, 0], [19, 4], (2,))), 0, [19, 4]),
    "size": Case(seen("size", spec(-3, 3)), -9, 9),
    "floats": Case(seen("floats", spec(0, 9, dtype=tf.float32)), 0, 9),
    "whole numbers of 64 bits": Case(lambda: policy(embedding(), spec(0, 9, dtype=tf.int64)), 0, 9),
    "octets": Case(seen("octets", spec(0, 8, dtype=tf.uint8)), 0, 8),
    "of this row": Case(seen("of this row", spec(0, 2)), [0, None, None], [2, None, None]),
}
# These take any value.
FREE = {
    "number": seen("number", spec(0, 100)),
    "clip": seen("clip", spec(0, 9)),
    "remainder": seen("remainder", spec(0, 100)),
    "choice": seen("choice", spec(0, 9)),
    "the largest": seen("the largest", spec(0, 255, (5,))),
    "clip of very many": seen("clip", spec(0, 9, LARGE)),
}


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], LookupFindings]:
    """The look-ups that are found in a policy saved by PolicySaver."""

    def look(made: Any) -> LookupFindings:
        folder = tmp_path_factory.mktemp("lookups")
        source = SavedModelSource.open(stock.save(made, folder / "saved"), "best")
        (folder / "baked").mkdir()
        saved = source.materialize(folder / "baked")
        return find_lookups(saved, Observations.find(saved.interface, None, None))

    return look


def export(made: Any, folder: Path, formats: str, **options: Any) -> Bundle:
    source = SavedModelSource.open(stock.save(made, folder / "saved"), "best")
    return write_bundle(source, folder / "models", "looking-up", parse_formats(formats), lambda _: None, **options)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A policy with an embedding of ten rows, whose specs are lost. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("embedded")
    action = spec(0, 2, (), tf.int32)  # a look-up that has a kernel in TFLite Micro
    saved = stock.save(policy(embedding(), spec(0, 9), action=action), folder / "saved")
    (saved / "policy_specs.pbtxt").unlink()
    source = SavedModelSource.open(saved, "best")
    return write_bundle(source, folder / "models", "embedded", parse_formats("onnx,tflm"), lambda _: None)


def actor(made: Any) -> Callable[[AnyArray], AnyArray]:
    """TF-Agents' own policy: rows of its one observation to actions."""
    observed = made.time_step_spec.observation

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow carries no types
    def act(rows: Any) -> Any:
        n = tf.shape(rows)[0]
        zeros = tf.zeros([n])
        step = TimeStep(tf.fill([n], StepType.FIRST), zeros, zeros + 1, rows)
        return made.action(step, made.get_initial_state(n)).action

    return lambda rows: np.asarray(act(tf.constant(rows, observed.dtype)))


def runs(act: Callable[[AnyArray], AnyArray], row: AnyArray) -> bool:
    try:
        act(row[None])
    except tf.errors.InvalidArgumentError:
        return False
    return True


@pytest.mark.parametrize("name", FAILING)
def test_values_are_bounded_where_tf_agents_would_fail(name: str, find: Callable[[Any], LookupFindings]) -> None:
    """Whole numbers around both ends, in every element: TF-Agents' policy runs exactly those within the bounds."""
    case = FAILING[name]
    made = case.make()
    (found,), notes = find(made)
    assert (found.lookup_minimum, found.lookup_maximum, notes) == (case.low, case.high, ())
    act, neutral = actor(made), found.neutral(1)[0]
    ends = [np.broadcast_to(end, found.shape) for end in found.lookup_bounds()]
    limits = np.iinfo(found.dtype) if found.is_discrete else np.finfo(found.dtype)
    for place in np.ndindex(found.shape):
        low, high = (float(end[place]) for end in ends)
        near = [limits.min, -1, 1, limits.max]
        if math.isfinite(low):
            near = [*range(int(low) - 3, int(low) + 3), *range(int(high) - 2, int(high) + 4)]
        for value in near:
            if limits.min <= value <= limits.max:
                row = neutral.copy()
                row[place] = value
                assert runs(act, row) == (low <= value <= high), (place, value)


@pytest.mark.parametrize("name", FREE)
def test_values_are_unbounded_where_the_graph_takes_any(name: str, find: Callable[[Any], LookupFindings]) -> None:
    """Not even the training's bounds count: 10,000 and −10,000 pass, and TF-Agents' policy acts on them."""
    made = FREE[name]()
    (found,), notes = find(made)
    assert (found.lookup_minimum, found.lookup_maximum, notes) == (None, None, ())
    act = actor(made)
    assert all(runs(act, np.full(found.shape, value)) for value in (-10_000, 10_000))


@pytest.mark.parametrize(
    ("way", "low", "high", "expected"),
    [
        ("one-hot", 0, 4, (0, 4)),
        ("one-hot", 0, 2, (0, 4)),
        ("one-hot", -1, 4, (-1, 4)),  # trained with −1 for "nothing", which TensorFlow encodes as zeros
        ("one-hot upright", tf.int32.min, tf.int32.max, (0, 4)),  # the limits of a dtype do not count as bounds
    ],
)
def test_a_one_hot_encoding_takes_its_depth_and_the_training_bounds(
    way: str, low: int, high: int, expected: tuple[int, int], find: Callable[[Any], LookupFindings]
) -> None:
    """It never fails, so nothing that had a meaning in training is refused."""
    (found,), notes = find(policy(Seen(way), spec(low, high)))
    assert (found.lookup_minimum, found.lookup_maximum, notes) == (*expected, ())


@pytest.mark.parametrize("way", ["one-hot", "one-hot upright", "one-hot in octets", "one-hot flags"])
def test_a_one_hot_encoding_gives_zeros_for_a_negative_number(way: str, tmp_path: Path) -> None:
    """In ONNX and C as in TensorFlow, along any axis and of any type; ONNX's own OneHot counts from the end."""
    made = policy(Seen(way), spec(-3, 7, (2,)))
    formats = "onnx,c" if way in ("one-hot", "one-hot upright") else "onnx"
    bundle = export(made, tmp_path, formats)
    rows = np.array([(a, b) for a in range(-3, 8) for b in range(-3, 8)], np.int32)
    expected = actor(made)(rows)
    assert len(set(expected)) > 1
    for file in {"model.onnx", "policy.c"} & set(bundle.manifest.files):
        runner = open_runner(bundle.path / file, bundle.manifest)
        found = [runner.run({"observation": row[None]})["action"][0] for row in rows]
        np.testing.assert_array_equal(found, expected)


def test_only_the_tensor_that_is_looked_up_is_bounded(find: Callable[[Any], LookupFindings]) -> None:
    """Of an observation with several tensors."""
    place, speed = find(policy(BEHIND, DICT)).specs
    assert (place.path, place.lookup_minimum, place.lookup_maximum) == (("place",), 0, 9)
    assert (speed.path, speed.lookup_minimum, speed.lookup_maximum) == (("speed",), None, None)


@pytest.mark.parametrize(
    ("way", "observation", "expected"),
    [
        ("together", spec(0, 9, (2,)), (0, 9)),  # tried alone, the first could go up to 99
        ("fractions", spec(0, 0.99, dtype=tf.float32), (None, None)),
        ("offset", spec(100, 109, LARGE), (100, 109)),
    ],
)
def test_the_training_bounds_count_where_the_look_up_cannot_be_followed(
    way: str, observation: Any, expected: Any, find: Callable[[Any], LookupFindings]
) -> None:
    """Only whole-number bounds; and a note says so."""
    (found,), notes = find(policy(Seen(way), observation))
    assert (found.lookup_minimum, found.lookup_maximum) == expected
    (note,) = notes
    assert note.startswith("observation: it could not be told which of its values the policy can look up")
    assert note.endswith("outside of its bounds is taken." if expected[0] is not None else "makes the request fail.")


def test_a_policy_without_tables_is_never_run(tmp_path: Path) -> None:
    """An image policy costs one search of the graph; the index of the best action is not an observation's place."""
    saved = SavedModelSource.open(stock.save(stock.greedy("image"), tmp_path / "saved"), "best")
    (tmp_path / "baked").mkdir()
    assert IndexGraph(saved.materialize(tmp_path / "baked")).leaves == []


def test_both_manifests_have_the_tables(embedded: Bundle) -> None:
    """Although its specs are lost, and whole numbers of ±10 would have been sampled, on which TensorFlow fails."""
    (found,) = embedded.manifest.observation
    assert found == TensorSpec("observation", (3,), "int32", lookup_minimum=0, lookup_maximum=9)
    assert read_manifest(embedded.path / "model.onnx").observation == [found]
    with np.load(embedded.path / "parity.npz") as arrays:
        compared = arrays["inputs.observation"]
    assert (compared.min(), compared.max()) == (0, 9)


def test_every_document_names_the_tables(embedded: Bundle) -> None:
    """The model card, the header for microcontrollers, `rlway inspect`."""
    words = "looked up in a table: 0 to 9"
    assert f"| int32[3], {words} |" in (embedded.path / "README.md").read_text()
    header = (embedded.path / "policy_model.h").read_text()
    assert "must never be given" in header
    assert "observation: 0 to 9" in header
    shown = run_command(SERVE, "inspect", embedded.path)
    assert f"unbounded; {words}" in " ".join(shown.stdout.split())


def test_the_bench_sends_what_can_be_looked_up() -> None:
    """Within the bounds and within the tables."""
    sampled = sample_observations(TensorSpec("x", (3,), "int32", 0, 99, (), [0, None, 5], [9, None, 7]), 500, seed=0)
    assert (sampled.max(axis=0) <= (9, 99, 7)).all()
    assert (sampled.min(axis=0) >= (0, 0, 5)).all()
    assert sampled[:, 1].max() > 50


def test_given_observations_that_cannot_be_looked_up_are_refused(tmp_path: Path) -> None:
    """The sentence names the first one, before TensorFlow gets it."""
    rows = np.full((9, 3), 5, np.int32)
    rows[7, 2] = 99
    np.savez(tmp_path / "rows.npz", observation=rows)
    with pytest.raises(UsageError, match=r"rows.npz: row 7: observation\[2\]: expected 0 to 9, .*, got 99\.$"):
        export(policy(embedding(), spec(0, 9)), tmp_path, "onnx", observations=tmp_path / "rows.npz")


def test_c_source_never_reads_at_a_computed_index(tmp_path: Path) -> None:
    """So it cannot read outside of a table: an embedding is refused, with the remedy."""
    with pytest.raises(ExportRefused, match=r"C: the operator Gather .* leave c out of --formats\.$"):
        export(policy(embedding(), spec(0, 9)), tmp_path, "c")


def test_a_table_far_from_zero_leaves_the_graph_small(tmp_path: Path) -> None:
    """Graphs are compared on values within the tables, so the simpler graph is found to be equal."""
    bundle = export(policy(Seen("offset"), spec(100, 109)), tmp_path, "onnx")
    assert bundle.manifest.notes == []


def test_a_policy_of_our_own_training_has_no_tables(bundle: Bundle) -> None:
    """Its network takes all observations as numbers."""
    assert not any(found.is_lookup for found in bundle.manifest.observation)
