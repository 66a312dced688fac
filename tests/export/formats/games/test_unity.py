"""The file for Unity: what ML-Agents checks and feeds, and the actions that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import Interface
from rlway_client.contract.model_files import UNITY_FILE as FILE
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_client.contract.unity_tensors import UnityTensors
from rlway_export.checks.observations import Observations
from rlway_export.formats.games.unity import write_unity
from rlway_export.formats.games.wrapper import LINES_KEY
from tests.export.conftest import Rlway
from tests.export.formats.c.c_policies import make_manifest, model, node
from tests.export.formats.games.conftest import Exported
from tests.export.formats.games.engines import FLOAT, INTS, Brain, Unity
from tests.export.formats.test_stock_policies import ROWS, STEPS, walk

pytestmark = pytest.mark.slow

BRAINS = {
    "sac": Brain([(4,)], 2, []),
    "dict": Brain([(3,), (1,), (2, 2)], 0, [3]),
    "image": Brain([(4, 84, 84)], 0, [3]),
    "recurrent-dqn": Brain([(4,)], 0, [3]),
    "ppo-mixed": Brain([(4,)], 2, [3]),
}
LOW, HIGH = np.array([-1, -2]), np.array([1, 3])  # of stock.PUSH
DRAWN = 4000


def sensed(rows: AnyArray) -> AnyArray:
    """As Unity's sensors give it: images channels first and from 0 to 1, a single number as an array of one."""
    if rows.ndim == 4:
        return np.moveaxis(rows, 3, 1) / np.float32(255)
    return rows.reshape(-1, 1) if rows.ndim == 1 else rows


def seen(bundle: Bundle, count: int = ROWS) -> list[AnyArray]:
    arrays = Observations.find(bundle.manifest.interface, None, None).arrays
    return [sensed(array[:count]) for array in arrays.values()]


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", BRAINS)
def test_ml_agents_finds_nothing_to_warn_of(name: str, deterministic: bool, exported: Exported) -> None:
    """With the brain of the policy; with another one it does."""
    _, bundle = exported(name)
    unity, brain = Unity(bundle.path / FILE, deterministic), BRAINS[name]
    assert [*unity.faults(brain)] == []
    assert [*unity.faults(brain._replace(sensors=[*brain.sensors, (1,)]))] == [f"obs_{len(brain.sensors)}"]
    assert "continuous size" in [*unity.faults(brain._replace(continuous=brain.continuous + 1))]
    assert "branches" in [*unity.faults(brain._replace(branches=[*brain.branches, 2]))]


@pytest.mark.parametrize("name", ["sac", "dict", "image", "recurrent-dqn"])
def test_agents_in_unity_act_as_in_tf_agents(name: str, exported: Exported) -> None:
    """All at once, through several episodes: the memory begins with zeros, as ML-Agents begins it."""
    policy, bundle = exported(name)
    observations = Observations.find(bundle.manifest.interface, None, None).arrays
    unity = Unity(bundle.path / FILE, deterministic=True)
    for step, (expected,) in enumerate(walk(policy, observations)):
        episodes = [row + ROWS * (step // 3) for row in range(ROWS)]
        rows = slice(step * ROWS, (step + 1) * ROWS)
        continuous, discrete = unity.decide([sensed(array[rows]) for array in observations.values()], episodes)
        if discrete.size:
            np.testing.assert_array_equal(discrete[:, 0], expected)
        else:
            assert (np.abs(continuous) <= 1 + 1e-6).all()
            np.testing.assert_allclose(LOW + (continuous + 1) / 2 * (HIGH - LOW), expected, rtol=0, atol=1e-5)
    assert step == STEPS - 1


def test_of_a_policy_without_noise_both_kinds_of_actions_are_the_same(exported: Exported) -> None:
    """So that it acts alike whether or not Deterministic Inference is ticked."""
    _, bundle = exported("dict")
    found = [Unity(bundle.path / FILE, kind).decide(seen(bundle), range(ROWS))[1] for kind in (False, True)]
    np.testing.assert_array_equal(found[0], found[1])


def test_a_masked_choice_is_not_taken(exported: Exported) -> None:
    """The best of the others is; where no scores are known, the first of them."""
    for name in ("ppo-mixed", "dict"):
        _, bundle = exported(name)
        unity = Unity(bundle.path / FILE, deterministic=True)
        _, free = unity.decide(seen(bundle), range(ROWS))
        masks = 1 - np.eye(3, dtype=np.float32)[free[:, 0]]
        _, masked = unity.decide(seen(bundle), range(ROWS), masks)
        is_scored = name == "ppo-mixed"
        scores = unity.told(seen(bundle), ["logits_grip"])[0] if is_scored else np.zeros((ROWS, 3))
        np.testing.assert_array_equal(masked[:, 0], np.where(masks > 0, scores, -np.inf).argmax(1))


def test_drawn_actions_have_the_distribution_of_the_policy(exported: Exported) -> None:
    """ML-Agents gives standard normal numbers; of these come normal values, and choices by their probabilities."""
    _, bundle = exported("ppo-mixed")
    unity = Unity(bundle.path / FILE, deterministic=False)
    one = [np.repeat(array, DRAWN, axis=0) for array in seen(bundle, 1)]
    continuous, discrete = unity.decide(one, range(DRAWN), normal=np.random.default_rng(1))
    told = unity.told(one, ["logits_grip", "info_dist_params_push_loc", "info_dist_params_push_scale"])
    logits, mean, deviation = (values[0] for values in told)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    found = np.bincount(discrete[:, 0], minlength=3) / DRAWN
    assert (np.abs(found - shares) < 5 * np.sqrt(shares * (1 - shares) / DRAWN)).all()
    pushes = LOW + (continuous + 1) / 2 * (HIGH - LOW)
    assert (np.abs(pushes.mean(0) - mean) < 5 * deviation / np.sqrt(DRAWN)).all()
    np.testing.assert_allclose(pushes.std(0), deviation, rtol=0.1)


def test_the_inference_engine_can_import_the_file(exported: Exported) -> None:
    """Opset 15, inputs of float32, and no tensor of another type than floats, whole numbers and truth values."""
    for name in BRAINS:
        loaded = Unity(exported(name)[1].path / FILE, deterministic=True).model
        assert [one.version for one in loaded.opset_import] == [15]
        assert {value.type.tensor_type.elem_type for value in loaded.graph.input} == {FLOAT}
        inferred = onnx.shape_inference.infer_shapes(loaded).graph
        kinds = {value.type.tensor_type.elem_type for value in inferred.value_info}
        assert kinds <= {FLOAT, *INTS, onnx.TensorProto.BOOL}


def test_file_model_card_and_inspect_say_what_each_tensor_stands_for(exported: Exported, rlway: Rlway) -> None:
    """With the keys, the scales and the ranges of the policy."""
    expected = {
        "image": ["`obs_0` | observation: an image, 4 × 84 × 84 (channels first), 0 to 1 for 0 to 255"],
        "dict": ['`obs_0` | observation["body"]["at"]: 3 numbers', '`obs_2` | observation["wall"]: 2 × 2 numbers'],
        "sac": ["`continuous_actions[1]` | action[1]: −1 to 1 for −2 to 3"],
    }
    for name, lines in expected.items():
        bundle = exported(name)[1]
        card = (bundle.path / "README.md").read_text(encoding="utf-8").split(f"## `{FILE}` in Unity")[1]
        loaded = onnx.load(bundle.path / FILE)
        (told,) = (one.value for one in loaded.metadata_props if one.key == LINES_KEY)
        for line in lines:
            assert f"| {line} |" in card
            assert line.split(" | ")[1].replace('"', '\\"') in told
        for path in (bundle.path, bundle.path / FILE):
            shown = rlway("inspect", path)
            assert shown.status == 0
            assert "Unity's tensor" in shown.stdout


def test_what_ml_agents_cannot_hand_over_is_refused() -> None:
    """Rewards, deep observations, choices without end: one sentence each."""
    vector, push = TensorSpec("observation", (3,), "float32"), TensorSpec("action", (2,), "float32", -1, 1)
    plain = Interface([vector], [push], None, [], [])
    deep, endless = TensorSpec("observation", (2, 3, 4, 5), "float32"), TensorSpec("action", (), "int64", 0)
    cases: dict[str, Interface] = {
        r"at most 3 dimensions": plain._replace(observation=[deep]),
        r"reads reward": plain._replace(time_step=[TensorSpec("reward", (), "float32")]),
        r"choices, .* got at least 0": plain._replace(actions=[endless]),
        r"expected numbers, got bool": plain._replace(actions=[TensorSpec("action", (), "bool")]),
    }
    for words, interface in cases.items():
        with pytest.raises(ExportRefused, match=rf"^unity: .*{words}.*leave unity out of --formats\.$"):
            UnityTensors.of(interface)


@pytest.mark.parametrize(
    ("kind", "rows", "words"), [("Abs", 1, "one observation at a time"), ("GRU", None, "has no GRU")]
)
def test_a_graph_that_unity_cannot_run_is_refused(kind: str, rows: int | None, words: str, tmp_path: Path) -> None:
    """One for one row, as ML-Agents runs all agents at once, and one with an operator that it lacks."""
    manifest = make_manifest(action=TensorSpec("action", (3,), "float32", -1, 1), noise=None)
    made = model([node("Abs", "observation")], {}, manifest)
    if rows is not None:
        made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = rows

    made.graph.node[0].op_type = kind
    with pytest.raises(ExportRefused, match=f"^unity: .*{words}.*leave unity out of --formats"):
        write_unity(made, manifest, tmp_path)
    assert [*tmp_path.iterdir()] == []
