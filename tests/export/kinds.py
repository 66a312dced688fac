"""Two policies of each kind of source, for the table in docs/export.md.

Out:     `KINDS`: by the first column of the table, a plain policy, and one that has all that a source of its kind can
         have: it draws, keeps a state, was saved for one row, and its action has two parts.

All observe float32[4] between −2 and 2 and push with float32[2]; the full ones also choose one of three grips. Runs of
`rlway train` are not among them: theirs come from a training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tf_agents.agents.ppo.ppo_clip_agent import PPOClipAgent
from tf_agents.networks.actor_distribution_rnn_network import ActorDistributionRnnNetwork
from tf_agents.networks.value_rnn_network import ValueRnnNetwork
from tf_agents.policies.policy_saver import PolicySaver
from tf_agents.train.triggers import PolicySavedModelTrigger
from tf_agents.trajectories import time_step_spec
from tf_agents.utils import common

from tests.export import networks, onnx_forms, stock
from tests.export.onnx_forms import FLOAT, Form, Graph

ROWS = 1  # for which the full policies are saved
STATE = 6
WIRING = {"observation": "obs", "action": ["push", "grip"], "meaning": ["action", "logits"], "state": "h:h_out"}
_layers, _input = tf.keras.layers, tf.keras.Input


class Case(NamedTuple):
    """A source, and what a user has to say of it."""

    make: Callable[[Path], Path]  # in a folder that does not exist yet
    options: Mapping[str, Any] = MappingProxyType({})  # of rlway_export.export


class Kind(NamedTuple):
    """What a test exports of it."""

    plain: Case
    full: Case


def full_agent() -> Any:
    """PPO with an LSTM, over an action of two parts."""
    stock.begin_alike()
    sizes: dict[str, Any] = {"input_fc_layer_params": (8,), "lstm_size": (STATE,), "output_fc_layer_params": (8,)}
    actor = ActorDistributionRnnNetwork(stock.VECTOR, stock.HAND, **sizes)
    value = ValueRnnNetwork(stock.VECTOR, **sizes)
    optimizer = tf.keras.optimizers.legacy.Adam(1e-3)
    steps = time_step_spec(stock.VECTOR)
    return stock.initialized(
        PPOClipAgent(steps, stock.HAND, optimizer=optimizer, actor_net=actor, value_net=value, check_numerics=False)
    )


def plain_agent() -> Any:
    return stock.agent("sac")


def _trigger(agent: Callable[[], Any], part: str, rows: int | None, folder: Path) -> Path:
    step = tf.Variable(0, dtype=tf.int64)
    pull = PolicySavedModelTrigger(str(folder / "policies"), agent(), step, interval=1, batch_size=rows)
    step.assign(10)
    pull(10, force_trigger=True)
    return folder / "policies" / part


def _saved(policy: Callable[[], Any], rows: int | None, folder: Path) -> Path:
    PolicySaver(policy(), batch_size=rows, train_step=tf.Variable(7, dtype=tf.int64)).save(str(folder))
    return folder


def _checkpoints(agent: Callable[[], Any], folder: Path) -> Path:
    step = tf.Variable(5, dtype=tf.int64)
    common.Checkpointer(str(folder), agent=agent(), global_step=step).save(5)
    return folder


def _full_signature(folder: Path) -> Path:
    seen, kept = networks.weights(4, STATE), networks.weights(STATE, STATE)
    pushes, grips = networks.weights(STATE, 2), networks.weights(STATE, 3)

    def act(obs: Any, h: Any) -> dict[str, Any]:
        after = tf.tanh(obs @ seen + h @ kept)
        push = after @ pushes + 0.3 * tf.random.normal([ROWS, 2])
        return {"push": push, "grip": after @ grips, "h_out": after}

    specs = [tf.TensorSpec([ROWS, size], tf.float32, name=name) for name, size in (("obs", 4), ("h", STATE))]
    return networks.signed(act, folder, *specs, seen=seen, kept=kept, pushes=pushes, grips=grips)


def _plain_signature(folder: Path) -> Path:
    kernel = networks.weights(4, 2)
    return networks.signed(lambda obs: {"action": tf.tanh(obs @ kernel)}, folder, kernel=kernel)


def _full_network(folder: Path) -> Path:
    stock.begin_alike()
    seen, h = (_input(batch_shape=(ROWS, size), name=name) for name, size in (("obs", 4), ("h", STATE)))
    after = _layers.Dense(STATE, "tanh", name="h_out")(_layers.Concatenate()([seen, h]))
    outputs = [_layers.Dense(2, "tanh", name="push")(after), _layers.Dense(3, name="grip")(after), after]
    return _file(networks.save, tf.keras.Model([seen, h], outputs), folder, "policy.keras")


def _plain_network(folder: Path) -> Path:
    stock.begin_alike()
    network = tf.keras.Sequential([_input([4]), _layers.Dense(16, "relu"), _layers.Dense(2, "tanh", name="action")])
    return _file(networks.save, network, folder, "policy.keras")


def _full_onnx(folder: Path) -> Path:
    g = Graph()
    after = g.add("Tanh", g.add("Add", g.dense("obs", 4, STATE), g.dense("h", STATE, STATE)), output="h_out")
    g.dense(after, STATE, 3, output="grip")
    mean = g.dense(after, STATE, 2)
    drawn = g.add("Mul", g.add("RandomNormalLike", mean, dtype=FLOAT), g.constant(np.array(0.3, np.float32)))
    g.add("Add", mean, drawn, output="push")
    sizes = {"obs": 4, "h": STATE, "push": 2, "grip": 3, "h_out": STATE}
    values: list[Any] = [(name, FLOAT, [ROWS, size]) for name, size in sizes.items()]
    return _file(onnx_forms.save, Form(g.model(values[:2], values[2:]), {}), folder, "policy.onnx")


def _plain_onnx(folder: Path) -> Path:
    g = Graph()
    g.dense(g.dense("obs", 4, 16, "Relu"), 16, 2, "Tanh", output="action")
    model = g.model([("obs", FLOAT, ["n", 4])], [("action", FLOAT, ["n", 2])])
    return _file(onnx_forms.save, Form(model, {}), folder, "policy.onnx")


def _file(save: Callable[[Any, Path], Path], made: Any, folder: Path, name: str) -> Path:
    folder.mkdir()
    return save(made, folder / name)


KINDS = {
    "a trigger's folder": Kind(
        Case(partial(_trigger, plain_agent, "", None)), Case(partial(_trigger, full_agent, "", ROWS))
    ),
    "one policy of a trigger": Kind(
        Case(partial(_trigger, plain_agent, "policy", None)),
        Case(partial(_trigger, full_agent, "collect_policy", ROWS)),
    ),
    "a SavedModel of `PolicySaver`": Kind(
        Case(partial(_saved, lambda: plain_agent().policy, None)),
        Case(partial(_saved, lambda: full_agent().collect_policy, ROWS)),
    ),
    "another SavedModel": Kind(Case(_plain_signature), Case(_full_signature, WIRING)),
    "a Keras network": Kind(Case(_plain_network, {"meaning": "action"}), Case(_full_network, WIRING)),
    "an agent's checkpoints": Kind(
        Case(partial(_checkpoints, plain_agent), {"agent": plain_agent}),
        Case(partial(_checkpoints, full_agent), {"agent": full_agent}),
    ),
    "an ONNX file": Kind(Case(_plain_onnx), Case(_full_onnx, WIRING)),
}
