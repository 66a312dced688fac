"""The file for Godot: what the plugin feeds, and the actions that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlway_client import EdgePolicy
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.evidence import FILE as EVIDENCE
from rlway_client.contract.evidence import Evidence
from rlway_client.contract.godot_tensors import GodotTensors
from rlway_client.contract.interface import Interface
from rlway_client.contract.model_files import GODOT_FILE as FILE
from rlway_client.contract.specs import TensorSpec
from rlway_export.checks.observations import Observations
from rlway_export.formats.games.godot import UNBOUNDED, write_godot
from tests.export.formats.c.c_policies import make_manifest, model, node
from tests.export.formats.games.conftest import Exported
from tests.export.formats.games.engines import Godot
from tests.export.formats.test_stock_policies import walk

pytestmark = pytest.mark.slow

SPACES = {
    "sac": {"push": (2, "continuous")},
    "dict": {"choice": (3, "discrete")},
    "image": {"choice": (3, "discrete")},
    "ppo-mixed": {"grip": (3, "discrete"), "push": (2, "continuous")},
}
KEYS = {"dict": ["body/at", "body/speed", "wall"]}
LOW, HIGH = np.array([-1, -2]), np.array([1, 3])  # of stock.PUSH


@pytest.mark.parametrize("name", ["sac", "dict", "image"])
def test_an_agent_in_godot_acts_as_in_tf_agents(name: str, exported: Exported) -> None:
    """One flat array of floats for each key of `get_obs()`, pixels from 0 to 255."""
    policy, bundle = exported(name)
    observations = Observations.find(bundle.manifest.interface, None, None).arrays
    godot, keys = Godot(bundle.path / FILE, SPACES[name]), KEYS.get(name, ["obs"])
    actions = np.concatenate([part for (part,) in walk(policy, observations)])
    for row, expected in enumerate(actions):
        obs = {key: rows[row].ravel().tolist() for key, rows in zip(keys, observations.values(), strict=True)}
        found = godot.action(obs)
        if "push" in found:
            np.testing.assert_allclose(LOW + (found["push"] + 1) / 2 * (HIGH - LOW), expected, rtol=0, atol=1e-5)
        else:
            assert found["choice"] == expected


def test_choices_and_values_are_read_from_one_output(exported: Exported) -> None:
    """Without noise, as the SavedModel answers; the plugin takes the columns after the values for deviations."""
    _, bundle = exported("ppo-mixed")
    inputs, expected = Evidence.read(bundle.path / EVIDENCE, bundle.manifest)
    godot = Godot(bundle.path / FILE, SPACES["ppo-mixed"])
    assert godot.output_size == 3 + 2 * 2
    for row in np.flatnonzero(~inputs["noise"].any(axis=1))[:30]:
        obs = {"obs": inputs["observation"][row].tolist()}
        action = godot.action(obs)
        assert action["grip"] == expected["action_grip"][row]
        pushed = LOW + (action["push"] + 1) / 2 * (HIGH - LOW)
        np.testing.assert_allclose(pushed, expected["action_push"][row], rtol=0, atol=1e-5)
        # Of these columns the plugin draws a choice, where deterministic inference is off.
        np.testing.assert_allclose(godot.infer(obs)[:3], expected["logits_grip"][row], rtol=0, atol=1e-5)


def test_where_no_scores_are_known_a_draw_is_the_greedy_action_too(exported: Exported) -> None:
    """The softmax of the columns has all of its weight there."""
    _, bundle = exported("dict")
    godot = Godot(bundle.path / FILE, SPACES["dict"])
    output = godot.infer({"body/at": [0.1, 0.2, 0.3], "body/speed": [0.5], "wall": [0.0, 1.0, 1.0, 0.0]})
    assert np.exp(output - output.max()).sum() == 1


def test_the_file_is_for_godot_alone(exported: Exported) -> None:
    """A robot is told so, in one sentence."""
    _, bundle = exported("dict")
    with pytest.raises(UsageError, match=r"model\.godot\.onnx: is for Godot, .* give model\.onnx or a TFLite file"):
        EdgePolicy(bundle.path, FILE)


def test_what_the_plugin_cannot_keep_is_refused() -> None:
    """State, rewards, and two observations of one key: one sentence each."""
    vector, push = TensorSpec("observation", (3,), "float32"), TensorSpec("action", (2,), "float32", -1, 1)
    plain = Interface([vector], [push], None, [], [])
    twice = [
        TensorSpec("observation_a_b", (2,), "float32", path=("a", "b")),
        TensorSpec("observation_a_b_", (2,), "float32", path=("a/b",)),
    ]
    cases: dict[str, Interface] = {
        r"keeps a state .*\(h\)": plain._replace(state=[TensorSpec("h", (4,), "float32")]),
        r"reads discount": plain._replace(time_step=[TensorSpec("discount", (), "float32")]),
        r"'a/b' twice": plain._replace(observation=twice),
        r"'output' twice": plain._replace(
            observation=[TensorSpec("observation_output", (2,), "float32", path=("output",))]
        ),
    }
    for words, interface in cases.items():
        with pytest.raises(ExportRefused, match=rf"^godot: .*{words}.*leave godot out of --formats\.$"):
            GodotTensors.of(interface)


def test_values_without_bounds_keep_their_numbers_and_a_note_says_what_is_clipped(tmp_path: Path) -> None:
    """The plugin clips them, whatever they mean."""
    manifest = make_manifest(action=TensorSpec("action", (3,), "float32"), noise=None)
    made = model([node("Abs", "observation")], {}, manifest)
    assert write_godot(made, manifest, tmp_path) == [UNBOUNDED]
    godot = Godot(tmp_path / FILE, {"push": (3, "continuous")})
    assert godot.infer({"obs": [-0.5, 2, 3]}).tolist() == [0.5, 2, 3]
    assert godot.action({"obs": [-0.5, 2, 3]})["push"].tolist() == [0.5, 1, 1]
