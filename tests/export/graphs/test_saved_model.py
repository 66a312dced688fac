"""SavedModels of any age, with types of anybody's own, whole or damaged: exported, or refused in one sentence."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as Message

from rlway_client.contract.errors import RlwayError, RunInvalid
from rlway_export.reference.graph_policy import GraphPolicy
from tests.export import stock
from tests.export.graphs.ageing import AGES, aged, changed, type_specs
from tests.export.graphs.drawing import step_of

pytestmark = pytest.mark.slow

ROWS = 6
SEEN = np.random.default_rng(0).uniform(-2, 2, (ROWS, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """A collect policy and its SavedModel, by the agent's kind. Not to be changed by a test."""
    folder, made = tmp_path_factory.mktemp("saved"), dict[str, tuple[Any, Path]]()

    def save(kind: str) -> tuple[Any, Path]:
        if kind not in made:
            agent = stock.agent(kind)
            made[kind] = agent.policy, stock.save(agent.collect_policy, folder / kind)
        return made[kind]

    return save


def acts(policy: Any, graph: GraphPolicy) -> None:
    """The graph's greedy action is that of TF-Agents' agent.policy."""
    interface = graph.interface
    inputs = {"observation": SEEN}
    if interface.noise is not None:
        inputs["noise"] = np.zeros((ROWS, interface.noise.size), np.float32)
    inputs |= {spec.name: np.zeros((ROWS, *spec.shape), spec.numpy_dtype) for spec in interface.state}
    if interface.state:
        inputs["reset"] = np.zeros(ROWS, np.bool_)
    state = policy.get_initial_state(ROWS)
    expected = tf.nest.flatten(policy.action(step_of(SEEN), state).action)
    found = graph.run_act(inputs)
    for spec, action in zip(interface.actions, expected, strict=True):
        np.testing.assert_allclose(found[spec.name], action, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("kind", ["dqn", "ppo", "ppo-mixed", "recurrent-ppo"])
def test_a_policy_of_2020_is_read_as_one_of_today(
    kind: str, age: str, saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    """Its file names types that today's TensorFlow refuses, and has no fingerprint."""
    policy, source = saved(kind)
    if kind == "dqn":  # the ε-greedy policy has no distribution
        policy, source = stock.greedy("dqn"), stock.save(stock.greedy("dqn"), tmp_path / "greedy")
    old = aged(source, tmp_path / "old", age)
    with pytest.raises((ValueError, RuntimeError), match="TypeSpec"):
        tf.saved_model.load(str(old))
    graph, today = (GraphPolicy(folder, "same") for folder in (old, source))
    assert (graph.interface, graph.notes) == (today.interface, today.notes)
    acts(policy, graph)


def test_a_distribution_of_somebodys_own_needs_no_import(
    saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    """It is the result of `distribution`, which no export calls, and its module is not here."""

    def own(model: Any) -> None:
        for spec in type_specs(model.meta_graphs[0].object_graph_def):
            spec.type_spec_class_name = "robots.own.distributions.Careful_ACTTypeSpec"

    policy, source = saved("ppo")
    own_types = changed(source, tmp_path / "own", own)
    with pytest.raises(ValueError, match="Careful_ACTTypeSpec"):
        tf.saved_model.load(str(own_types))
    acts(policy, GraphPolicy(own_types, "own"))


def test_information_of_somebodys_own_type_is_told_by_its_tensors(
    saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    """What its parts are called is not known here, so they have numbers; the action is not concerned."""

    def own(model: Any) -> None:
        for function in model.meta_graphs[0].object_graph_def.concrete_functions.values():
            for pair in function.output_signature.named_tuple_value.values:
                if pair.key == "info" and pair.value.WhichOneof("kind") == "dict_value":
                    pair.value.type_spec_value.type_spec_class_name = "robots.own.Told"
                    pair.value.type_spec_value.type_state.none_value.SetInParent()

    policy, source = saved("ppo")
    graph = GraphPolicy(changed(source, tmp_path / "own", own), "own")
    assert [spec.name for spec in graph.interface.outputs] == ["info_0", "info_1"]
    acts(policy, graph)
    inputs = {"observation": SEEN, "noise": np.zeros((ROWS, 2), np.float32)}
    known = GraphPolicy(source, "known").run_act(inputs)
    told = graph.run_act(inputs)
    np.testing.assert_array_equal(told["info_0"], known["info_dist_params_loc"])
    np.testing.assert_array_equal(told["info_1"], known["info_dist_params_scale"])
    graph.timed(inputs)()


def test_a_fingerprint_may_be_missing(saved: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> None:
    """TensorFlow writes one since 2.10."""
    policy, source = saved("cloned-push")
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    (copy / "fingerprint.pb").unlink()
    acts(policy, GraphPolicy(copy, "copy"))


def no_graphs(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(Message(saved_model_schema_version=1).SerializeToString())


def an_empty_graph(folder: Path) -> None:
    message = Message(saved_model_schema_version=1)
    message.meta_graphs.add().meta_info_def.tags.append("serve")
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())


def a_foreign_message(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


def an_empty_file(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"")


def a_folder_in_its_place(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pb").mkdir()


def no_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


def no_shard(folder: Path) -> None:
    next((folder / "variables").glob("variables.data-*")).unlink()


def no_index(folder: Path) -> None:
    (folder / "variables/variables.index").unlink()


def half_a_shard(folder: Path) -> None:
    shard = next((folder / "variables").glob("variables.data-*"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no graphs": (no_graphs, "its saved_model.pb has no graph; save or copy it again"),
    "an empty graph": (an_empty_graph, "."),
    "a foreign message": (a_foreign_message, "its saved_model.pb is damaged, or no SavedModel; save or copy it again"),
    "an empty file": (an_empty_file, "its saved_model.pb has no graph"),
    "a folder in its place": (a_folder_in_its_place, "its saved_model.pb cannot be read: Is a directory"),
    "no variables": (no_variables, "cannot be loaded"),
    "a missing shard": (no_shard, "cannot be loaded"),
    "a missing index": (no_index, "cannot be loaded"),
    "half a shard": (half_a_shard, "cannot be loaded"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_saved_model_is_refused_in_one_sentence(
    case: str, saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    """What is missing, and what helps."""
    damage, expected = DAMAGED[case]
    copy = Path(shutil.copytree(saved("ppo")[1], tmp_path / "copy"))
    damage(copy)
    with pytest.raises(RlwayError, match=expected):
        GraphPolicy(copy, str(copy))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of few bytes. Not to be changed by a test."""
    return stock.save(stock.greedy("dqn"), tmp_path_factory.mktemp("small") / "source")


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.floats(0, 1), kept=st.booleans(), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), max_size=4)
)
def test_no_damage_to_the_graph_is_an_error_of_the_program(
    where: float, kept: bool, flips: list[tuple[float, int]], small: Path, tmp_path: Path
) -> None:
    """Cut off anywhere, or with flipped bits: it acts, or is refused."""
    content = bytearray((small / "saved_model.pb").read_bytes())
    for place, bit in flips:
        content[int(place * (len(content) - 1))] ^= 1 << bit
    copy = tmp_path / "copy"
    if not copy.exists():
        shutil.copytree(small, copy)
    (copy / "saved_model.pb").write_bytes(content if kept else content[: int(where * len(content))])
    with suppress(RlwayError):
        GraphPolicy(copy, "damaged").run_act({"observation": SEEN})


def test_an_unreadable_policy_names_the_folder(tmp_path: Path) -> None:
    """As it was given, not as it was copied to be loaded."""
    with pytest.raises(RunInvalid, match=r"^mine: its saved_model\.pb cannot be read: No such file"):
        GraphPolicy(tmp_path, "mine")


def test_weights_that_cannot_be_read_are_named_by_the_path_that_was_given(small: Path, tmp_path: Path) -> None:
    """An export loads a draft of the bundle, whose path says nothing to anybody."""
    draft = Path(shutil.copytree(small, tmp_path / ".draft"))
    no_index(draft)
    with pytest.raises(RunInvalid, match=r"^mine: cannot be loaded: .*mine/variables/variables") as refusal:
        GraphPolicy(draft, "mine")
    assert str(tmp_path) not in str(refusal.value)


def test_a_missing_temporary_folder_is_told_in_a_sentence(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy that is loaded has no place then."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(RunInvalid, match=r"^mine: cannot be loaded: .*No such file or directory"):
        GraphPolicy(small, "mine")
