"""ONNX files in the forms in which libraries of reinforcement learning write their policies, made node by node.

In:      a form's name.
Out:     the model; the options that tell what its own names do not.

The names, the layouts and the batch dimensions are those of each library's exporter; the weights are random and small.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rlway_client.contract.specs import AnyArray

FLOAT, INT64, BOOL, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8
Value = tuple[str, int, list[Any] | None]


class Form(NamedTuple):
    """A file of one library, and what a user has to say of it."""

    model: Any
    options: dict[str, Any]


class Graph:
    """A graph under construction, with random weights."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._generator = np.random.default_rng(seed)

    def weights(self, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:]) or 1)
        return self.constant((self._generator.standard_normal(shape) * scale).astype(np.float32))

    def constant(self, value: AnyArray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(
        self, kind: str, *inputs: str, output: str | None = None, outputs: list[str] | None = None, **more: Any
    ) -> str:
        results = outputs or [output or f"value_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, list(inputs), results, name=f"/{kind}_{len(self.nodes)}", **more))
        return results[0]

    def dense(self, x: str, n: int, m: int, activation: str | None = None, output: str | None = None) -> str:
        """A layer as PyTorch writes it: Gemm with transposed weights."""
        last = None if activation else output
        value = self.add("Gemm", x, self.weights(m, n), self.weights(m), output=last, transB=1)
        return self.add(activation, value, output=output) if activation else value

    def model(self, inputs: list[Value], outputs: list[Value], opset: int = 17, ir: int = 8) -> Any:
        taken, given = ([helper.make_tensor_value_info(*one) for one in side] for side in (inputs, outputs))
        graph = helper.make_graph(self.nodes, "main_graph", taken, given, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
        made.producer_name, made.producer_version = "pytorch", "2.6.0"
        if all(shape is not None for _, _, shape in outputs):  # the checker requires shapes, and nothing else does
            onnx.checker.check_model(made)
        return made


def save(form: Form, path: Path) -> Path:
    path.write_bytes(form.model.SerializeToString())
    return path


def sb3_dqn() -> Form:
    """stable-baselines3's DQN over images: the Q-network, which scales its pixels. Names are PyTorch's own."""
    g = Graph()
    scaled = g.add("Div", g.add("Cast", "input.1", to=FLOAT), g.constant(np.array(255, np.float32)))
    seen = g.add(
        "Relu", g.add("Conv", scaled, g.weights(8, 4, 8, 8), g.weights(8), kernel_shape=[8, 8], strides=[4, 4])
    )
    seen = g.add("Relu", g.add("Conv", seen, g.weights(8, 8, 4, 4), g.weights(8), kernel_shape=[4, 4], strides=[2, 2]))
    hidden = g.dense(g.add("Flatten", seen, axis=1), 8 * 3 * 3, 16, "Relu")
    g.dense(hidden, 16, 4, output="18")
    model = g.model([("input.1", UINT8, ["batch", 4, 36, 36])], [("18", FLOAT, ["batch", 4])])
    return Form(model, {"meaning": ("q_values",)})


def sb3_sac() -> Form:
    """stable-baselines3's SAC: the actor's mean, squashed, with VecNormalize's statistics folded in; batch of 1."""
    g = Graph(1)
    centred = g.add("Sub", "input", g.constant(np.array([0.1, -0.2, 0.3], np.float32)))
    scaled = g.add("Div", centred, g.constant(np.array([1.5, 0.5, 2.0], np.float32)))
    bounds = [g.constant(np.array(bound, np.float32)) for bound in (-10.0, 10.0)]
    hidden = g.dense(g.dense(g.add("Clip", scaled, *bounds), 3, 32, "Relu"), 32, 32, "Relu")
    g.dense(hidden, 32, 2, "Tanh", output="tanh")
    model = g.model([("input", FLOAT, [1, 3])], [("tanh", FLOAT, [1, 2])], opset=14)
    return Form(model, {"meaning": ("action",)})


def sb3_ppo() -> Form:
    """stable-baselines3's PPO: the whole policy, deterministic, which gives actions, values and log_prob."""
    g = Graph(2)
    actor = g.dense(g.dense("input", 4, 16, "Tanh"), 16, 3)
    best = g.add("ArgMax", g.add("Softmax", actor, axis=1), output="actions", axis=1, keepdims=0)
    g.dense(g.dense("input", 4, 16, "Tanh"), 16, 1, output="values")
    chances = g.add("LogSoftmax", actor, axis=1)
    picked = g.add("Unsqueeze", best, g.constant(np.array([1])))
    g.add("Squeeze", g.add("GatherElements", chances, picked, axis=1), g.constant(np.array([1])), output="log_prob")
    outputs: list[Value] = [
        ("actions", INT64, ["batch"]),
        ("values", FLOAT, ["batch", 1]),
        ("log_prob", FLOAT, ["batch"]),
    ]
    return Form(g.model([("input", FLOAT, ["batch", 4])], outputs), {})


def cleanrl_ppo() -> Form:
    """CleanRL's PPO: the actor's network, whose logits are the scores of discrete actions."""
    g = Graph(3)
    g.dense(g.dense(g.dense("obs", 4, 64, "Tanh"), 64, 64, "Tanh"), 64, 2, output="logits")
    return Form(g.model([("obs", FLOAT, ["n", 4])], [("logits", FLOAT, ["n", 2])], opset=11, ir=6), {})


def cleanrl_gaussian() -> Form:
    """CleanRL's PPO for continuous actions, which draws: mean + std · normal."""
    g = Graph(4)
    mean = g.dense(g.dense("obs", 6, 32, "Tanh"), 32, 3)
    deviation = g.add("Exp", g.constant(np.array([-0.5, 0.1, -1.0], np.float32)))
    wide = g.add("Expand", deviation, g.add("Shape", mean))
    drawn = g.add("RandomNormalLike", wide, dtype=FLOAT)
    g.add("Add", mean, g.add("Mul", wide, drawn), output="action")
    return Form(g.model([("obs", FLOAT, ["n", 6])], [("action", FLOAT, ["n", 3])]), {})


def rllib() -> Form:
    """RLlib's policy: the model's `output`, with an LSTM whose state has the batch first."""
    g = Graph(5)
    x = g.add("Unsqueeze", g.dense("obs", 5, 8, "Relu"), g.constant(np.array([0])))
    h = g.add("Unsqueeze", "state_ins", g.constant(np.array([0])))
    w, r, b = g.weights(1, 24, 8), g.weights(1, 24, 8), g.weights(1, 48)
    g.add("GRU", x, w, r, b, "", h, outputs=["", "hidden"], hidden_size=8, linear_before_reset=1)
    kept = g.add("Squeeze", "hidden", g.constant(np.array([0])), output="state_outs")
    scaled = g.add("Mul", kept, g.add("Cast", "seq_lens", to=FLOAT))
    g.dense(scaled, 8, 3, output="output")
    inputs: list[Value] = [("obs", FLOAT, ["batch_size", 5]), ("state_ins", FLOAT, ["batch_size", 8])]
    outputs: list[Value] = [("output", FLOAT, ["batch_size", 3]), ("state_outs", FLOAT, ["batch_size", 8])]
    return Form(g.model([*inputs, ("seq_lens", INT64, [1])], outputs), {"meaning": ("logits",)})


def rsl_rl() -> Form:
    """rsl_rl's actor with its normaliser: a batch of 1 and an ELU network."""
    g = Graph(6)
    centred = g.add("Sub", "obs", g.weights(1, 8))
    scaled = g.add("Div", centred, g.constant(np.full((1, 8), 1.7, np.float32)))
    hidden = g.dense(g.dense(scaled, 8, 32, "Elu"), 32, 16, "Elu")
    g.dense(hidden, 16, 4, output="actions")
    return Form(g.model([("obs", FLOAT, [1, 8])], [("actions", FLOAT, [1, 4])], opset=18), {})


def rsl_rl_lstm() -> Form:
    """rsl_rl's recurrent actor: an LSTM of two layers, whose state is [layers, 1, hidden]."""
    g = Graph(7)
    axis = g.constant(np.array([0]))
    x, states = g.add("Unsqueeze", "obs", axis), dict[str, list[str]](h=[], c=[])
    for layer, n in enumerate((6, 8)):
        given = {}
        for name in "hc":
            parts = [g.constant(np.array([layer + i])) for i in (0, 1)]
            given[name] = g.add("Slice", f"{name}_in", *parts, axis)
        w, r, b = g.weights(1, 32, n), g.weights(1, 32, 8), g.weights(1, 64)
        after = [f"{name}_{layer}" for name in "yhc"]
        g.add("LSTM", x, w, r, b, "", given["h"], given["c"], outputs=after, hidden_size=8)
        x = g.add("Squeeze", after[0], g.constant(np.array([1])))
        states["h"].append(after[1])
        states["c"].append(after[2])
    for name, parts in states.items():
        g.add("Concat", *parts, output=f"{name}_out", axis=0)
    g.dense(g.dense(g.add("Squeeze", x, axis), 8, 16, "Elu"), 16, 3, output="actions")
    shape = [2, 1, 8]
    inputs: list[Value] = [("obs", FLOAT, [1, 6]), ("h_in", FLOAT, shape), ("c_in", FLOAT, shape)]
    outputs: list[Value] = [("actions", FLOAT, [1, 3]), ("h_out", FLOAT, shape), ("c_out", FLOAT, shape)]
    return Form(g.model(inputs, outputs), {})


def ml_agents() -> Form:
    """ML-Agents' policy of two observations, continuous and discrete actions; the latter drawn, and deterministic."""
    g = Graph(8)
    first = g.dense("obs_0", 5, 16, "Relu")
    joined = g.add("Concat", first, g.dense("obs_1", 3, 8, "Relu"), axis=1)
    hidden = g.dense(joined, 24, 16, "Relu")
    mean = g.dense(hidden, 16, 2)
    bounds = [g.constant(np.array(bound, np.float32)) for bound in (-3.0, 3.0)]
    clipped = g.add("Clip", mean, *bounds)
    g.add("Div", clipped, bounds[1], output="deterministic_continuous_actions")
    drawn = g.add("Add", mean, g.add("RandomNormalLike", mean, dtype=FLOAT))
    g.add("Div", g.add("Clip", drawn, *bounds), bounds[1], output="continuous_actions")
    masked = g.add("Mul", g.add("Softmax", g.dense(hidden, 16, 3), axis=1), "action_masks")
    g.add("Multinomial", g.add("Log", masked), output="discrete_actions", dtype=INT64)
    g.add("ArgMax", masked, output="deterministic_discrete_actions", axis=1, keepdims=1)
    for name, value in {"version_number": 3.0, "memory_size": 0.0, "continuous_action_output_shape": 2.0}.items():
        g.add("Identity", g.constant(np.array([value], np.float32)), output=name)
    inputs: list[Value] = [
        ("obs_0", FLOAT, ["batch", 5]),
        ("obs_1", FLOAT, ["batch", 3]),
        ("action_masks", FLOAT, ["batch", 3]),
    ]
    outputs: list[Value] = [(name, FLOAT, [1]) for name in ("version_number", "memory_size")]
    outputs += [("continuous_actions", FLOAT, ["batch", 2]), ("continuous_action_output_shape", FLOAT, [1])]
    outputs += [("deterministic_continuous_actions", FLOAT, [1, 2]), ("discrete_actions", INT64, ["batch", 1])]
    return Form(g.model(inputs, [*outputs, ("deterministic_discrete_actions", INT64, [1, 1])]), {})


def torchrl() -> Form:
    """TorchRL's policy: one row without a batch dimension, as LEAPP's bundles have it, too."""
    g = Graph(9)
    x = g.add("Add", g.add("MatMul", "observation", g.weights(4, 16)), g.weights(16))
    x = g.add("LayerNormalization", x, g.weights(16), g.weights(16), axis=-1)
    x = g.add("Mul", x, g.add("Sigmoid", x))
    g.add("Tanh", g.add("Add", g.add("MatMul", x, g.weights(16, 2)), g.weights(2)), output="action")
    return Form(g.model([("observation", FLOAT, [4])], [("action", FLOAT, [2])], opset=18), {})


FORMS: dict[str, Callable[[], Form]] = {
    "sb3-dqn": sb3_dqn,
    "sb3-sac": sb3_sac,
    "sb3-ppo": sb3_ppo,
    "cleanrl-ppo": cleanrl_ppo,
    "cleanrl-gaussian": cleanrl_gaussian,
    "rllib": rllib,
    "rsl-rl": rsl_rl,
    "rsl-rl-lstm": rsl_rl_lstm,
    "ml-agents": ml_agents,
    "torchrl": torchrl,
}
