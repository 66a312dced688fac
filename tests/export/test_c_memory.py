"""Policies with a memory, with several inputs and without noise, as C; and the names that C gives them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf2onnx
from gymnasium.envs.registration import EnvSpec
from tf_agents.networks.actor_distribution_rnn_network import ActorDistributionRnnNetwork
from tf_agents.networks.categorical_q_network import CategoricalQNetwork
from tf_agents.networks.q_rnn_network import QRnnNetwork
from tf_agents.policies.actor_policy import ActorPolicy
from tf_agents.policies.categorical_q_policy import CategoricalQPolicy
from tf_agents.policies.greedy_policy import GreedyPolicy
from tf_agents.policies.q_policy import QPolicy
from tf_agents.specs import BoundedTensorSpec
from tf_agents.trajectories import TimeStep, time_step_spec

from rlway_client.c_program import FLAGS
from rlway_client.errors import ExportRefused
from rlway_client.manifest import Manifest
from rlway_client.parity import Arrays
from rlway_client.specs import TensorSpec
from rlway_export.c_source import write_c
from rlway_train.environment import Domain
from rlway_train.recurrent import RecurrentDqnLearner
from rlway_train.settings import DqnSettings
from tests.export.c_policies import NEXT, answers, draw, manifest, model, node, runners

CELLS = 5
STATE = [TensorSpec(name, (CELLS,), "float32") for name in ("state_h", "state_c")]
OBSERVATION = TensorSpec("observation", (4,), "float32")
DISCRETE, CONTINUOUS = TensorSpec("action", (), "int64", 0, 2), TensorSpec("action", (2,), "float32", -1, [1, 3])


class Converted(NamedTuple):
    """An ONNX model, and what there is to know of it."""

    model: Any
    facts: Manifest


def of_ours() -> Converted:
    """The function that a run of `rlway train dqn --lstm` carries, over any number of rows."""
    domain = Domain("imagined", EnvSpec("Imagined-v0"), [OBSERVATION], DISCRETE, discretize=None, action_values=None)
    settings = DqnSettings(hidden=(6,), lstm=CELLS, sequence_length=4, block_steps=64, xla=False)
    learner = RecurrentDqnLearner(settings, domain, seed=1)
    facts = manifest(
        observation=[OBSERVATION], noise=learner.noise, state=STATE, action=DISCRETE, outputs=learner.outputs
    )
    return Converted(_convert(_renamed(learner.act()), facts, None), facts)


def of_q_rnn() -> Converted:
    """TF-Agents' QRnnNetwork, its greedy policy."""
    network = QRnnNetwork(
        _tensor(OBSERVATION),
        _bounded(DISCRETE),
        input_fc_layer_params=(8,),
        lstm_size=(CELLS,),
        output_fc_layer_params=None,
    )
    return _greedy(lambda: QPolicy(time_step_spec(_tensor(OBSERVATION)), _bounded(DISCRETE), network), DISCRETE, STATE)


def of_actor_rnn() -> Converted:
    """TF-Agents' actor with an LSTM, the middle of its distribution."""
    network = ActorDistributionRnnNetwork(
        _tensor(OBSERVATION),
        _bounded(CONTINUOUS),
        input_fc_layer_params=(8,),
        lstm_size=(CELLS,),
        output_fc_layer_params=(6,),
    )
    return _greedy(
        lambda: ActorPolicy(time_step_spec(_tensor(OBSERVATION)), _bounded(CONTINUOUS), network), CONTINUOUS, STATE
    )


def of_c51() -> Converted:
    """TF-Agents' categorical DQN: distributions of returns, their means, the largest."""
    network = CategoricalQNetwork(_tensor(OBSERVATION), _bounded(DISCRETE), num_atoms=11, fc_layer_params=(6,))
    spec = time_step_spec(_tensor(OBSERVATION))
    return _greedy(lambda: CategoricalQPolicy(spec, _bounded(DISCRETE), network, -10, 10), DISCRETE, [])


def _tensor(spec: TensorSpec) -> Any:
    return tf.TensorSpec(spec.shape, spec.dtype, spec.name)


def _bounded(spec: TensorSpec) -> Any:
    return BoundedTensorSpec(spec.shape, spec.dtype, spec.minimum, spec.maximum, spec.name)


def _renamed(act: Any) -> Callable[..., dict[str, Any]]:
    """No file can give its inputs and outputs one name."""

    def renamed(*inputs: Any) -> dict[str, Any]:
        outputs = act(*inputs)
        return {NEXT + name if name.startswith("state") else name: value for name, value in outputs.items()}

    return renamed


def _greedy(make: Callable[[], Any], action: TensorSpec, state: list[TensorSpec]) -> Converted:
    """What the policy's greedy one does, one row at a time."""
    tf.random.set_seed(7)
    make()  # with its variables

    def act(observation: Any, *memory: Any) -> dict[str, Any]:
        policy = GreedyPolicy(make())  # within, so that its constants are the graph's
        rows = observation.shape[0]
        step_type = tf.where(memory[-1], 0, 1) if memory else tf.ones([rows], tf.int32)
        step = TimeStep(step_type, tf.zeros([rows]), tf.ones([rows]), observation)
        done = policy.action(step, tf.nest.pack_sequence_as(policy.policy_state_spec, memory[:-1]))
        after = zip(state, tf.nest.flatten(done.state), strict=True)
        return {"action": done.action, **{NEXT + spec.name: value for spec, value in after}}

    facts = manifest(observation=[OBSERVATION], noise=None, state=state, action=action)
    return Converted(_convert(act, facts, 1), facts)


def _convert(act: Callable[..., dict[str, Any]], facts: Manifest, batch: int | None) -> Any:
    specs = [*facts.observation, *([facts.noise] if facts.noise else []), *facts.state]
    specs += [TensorSpec("reset", (), "bool")] if facts.state else []
    signature = [tf.TensorSpec([batch, *spec.shape], spec.dtype, spec.name) for spec in specs]
    return tf2onnx.convert.from_function(tf.function(act, input_signature=signature), signature, opset=17)[0]


@pytest.mark.parametrize("make", [of_ours, of_q_rnn, of_actor_rnn])
def test_a_policy_remembers_as_it_does_in_onnxruntime(make: Callable[[], Converted], tmp_path: Path) -> None:
    """Step after step, each with the state of its own step before; where it resets, nothing of before is left."""
    converted = make()
    rnd = np.random.default_rng(8)
    known, compiled = runners(*converted, tmp_path)
    facts = converted.facts
    names = [spec.name for spec in facts.state]
    mine: Arrays = {name: np.full((1, CELLS), np.nan, np.float32) for name in names}  # not set yet
    theirs: Arrays = {name: np.zeros((1, CELLS), np.float32) for name in names}
    for step in range(60):
        given = {spec.name: draw(spec, 1, rnd) for spec in facts.observation + ([facts.noise] if facts.noise else [])}
        given["reset"] = np.array([step % 25 == 0])
        expected, found = known.run(given | theirs), compiled.run(given | mine)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=f"{name}, step {step}")
        mine, theirs = ({name: after[NEXT + name] for name in names} for after in (found, expected))
    assert np.abs(mine["state_h"]).max() > 1e-3


def test_a_distribution_of_returns_is_summed_up_alike(tmp_path: Path) -> None:
    """The action of a categorical DQN: softmax, means, argmax, and no noise."""
    converted = of_c51()
    rows = {"observation": draw(OBSERVATION, 200, np.random.default_rng(9))}
    expected, found = answers(*converted, rows, tmp_path)
    np.testing.assert_array_equal(found["action"], expected["action"])
    assert len(set(expected["action"].tolist())) > 1
    header = (tmp_path / "policy.h").read_text()
    assert "The action is greedy." in header
    assert "noise" not in header.replace("greedy", "")


def test_what_is_remembered_may_change_places(tmp_path: Path) -> None:
    """The new state_h is the old state_c and the other way round; an output shows what was there before."""
    facts = manifest(noise=None, state=STATE, outputs=[TensorSpec("before", (CELLS,), "float32")])
    nodes = [
        node("Cast", "reset", out="unused", to=1),
        node("Identity", "state_h", out=f"{NEXT}state_c"),
        node("Identity", "state_c", out=f"{NEXT}state_h"),
        node("Identity", "state_h", out="before"),
        node("MatMul", "observation", "w"),
    ]
    made = model(nodes, {"w": np.ones((3, 4), np.float32)}, facts)
    generator = np.random.default_rng(10)
    inputs = {spec.name: draw(spec, 3, generator) for spec in (*facts.observation, *STATE)}
    expected, found = answers(made, facts, inputs | {"reset": np.zeros(3, bool)}, tmp_path)
    for name in ("before", f"{NEXT}state_h", f"{NEXT}state_c"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_dict_of_observations_is_an_argument_each(tmp_path: Path) -> None:
    """Names that C has taken, or that differ in their case only, become others; types are the manifest's."""
    specs = [
        TensorSpec("double", (3,), "float32"),
        TensorSpec("Camera", (2,), "uint8"),
        TensorSpec("camera", (2,), "float32"),
        TensorSpec("2.gear", (), "int64"),
        TensorSpec("i", (1,), "bool"),
        TensorSpec("unread", (1,), "float32"),
    ]
    facts = manifest(observation=specs, noise=None)
    nodes = [
        node("Cast", "Camera", out="c1", to=1),
        node("Cast", "2.gear", out="gear", to=1),
        node("Unsqueeze", "gear", "one", out="c2"),
        node("Cast", "i", out="c3", to=1),
        node("Concat", "double", "c1", "camera", "c2", "c3", out="all", axis=1),
        node("MatMul", "all", "w"),
    ]
    weights = np.random.default_rng(11).standard_normal((9, 4)).astype(np.float32)
    made = model(nodes, {"w": weights, "one": np.array([1])}, facts)
    generator = np.random.default_rng(12)
    expected, found = answers(made, facts, {spec.name: draw(spec, 50, generator) for spec in specs}, tmp_path)
    np.testing.assert_allclose(found["action"], expected["action"], rtol=2e-5, atol=2e-3)
    assert (
        "void RLWAY_ACT(const float *double_, const uint8_t *Camera, const float *camera_, const int32_t *of_2_gear, "
        "const uint8_t *i_, const float *unread, float *action);"
    ) in (tmp_path / "policy.h").read_text()


def test_a_number_of_64_bits_is_refused(tmp_path: Path) -> None:
    """By the name of what holds it."""
    facts = manifest(observation=[TensorSpec("far", (3,), "float64")])
    nodes = [node("Cast", "far", out="near", to=1), node("MatMul", "near", "w")]
    with pytest.raises(ExportRefused, match=r"C: far: expected one of bool, float32, .*got float64"):
        write_c(model(nodes, {"w": np.ones((3, 4), np.float32)}, facts), facts, tmp_path)


def test_a_cpp_program_keeps_the_memory(tmp_path: Path) -> None:
    """The header compiles as C++, and a state that sums up what it saw begins anew at a reset."""
    facts = manifest(
        noise=None, state=[TensorSpec("sum", (3,), "float32")], action=TensorSpec("action", (3,), "float32")
    )
    nodes = [
        node("Not", "reset", out="goes_on"),
        node("Cast", "goes_on", out="factor", to=1),
        node("Unsqueeze", "factor", "one", out="column"),
        node("Mul", "sum", "column", out="before"),
        node("Add", "before", "observation", out=f"{NEXT}sum"),
        node("Neg", f"{NEXT}sum"),
    ]
    write_c(model(nodes, {"one": np.array([1])}, facts), facts, tmp_path)
    (tmp_path / "main.cc").write_text(
        '#include "policy.h"\n#include <cstdio>\n'
        "int main()\n{\n"
        "    const float observation[RLWAY_OBSERVATION_SIZE] = {1, 2, 3};\n"
        "    float sum[RLWAY_SUM_SIZE], action[RLWAY_ACTION_SIZE];\n"
        "    for (int step = 0; step < 5; step++) {\n"
        "        rlway_act(observation, sum, step == 0 || step == 3, action);\n"
        '        std::printf("%g ", static_cast<double>(action[2]));\n'
        "    }\n    return 0;\n}\n"
    )
    subprocess.run(["cc", *FLAGS, "-c", "-o", tmp_path / "policy.o", tmp_path / "policy.c"], check=True)
    strict = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(
        ["c++", *strict, "-o", tmp_path / "program", tmp_path / "main.cc", tmp_path / "policy.o", "-lm"], check=True
    )
    done = subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["-3", "-6", "-9", "-3", "-6"]
