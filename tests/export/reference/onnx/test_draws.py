"""Draws of an ONNX graph as an input, whose numbers have the distribution of the draws that the file makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.exploration import draw_noise, sampling_explore
from rlway_export.checks.sampling import two_sample_tests
from rlway_export.reference.onnx.policy import OnnxPolicy
from tests.export import onnx_forms
from tests.export.onnx_forms import FLOAT, INT64, Form, Graph
from tests.export.reference.onnx.test_policy import opened

ROWS = 4096


def _categorical() -> Form:
    g = Graph(1)
    chances = g.add("Softmax", g.dense("obs", 4, 3), axis=1)
    g.add(
        "Squeeze", g.add("Multinomial", g.add("Log", chances), dtype=INT64), g.constant(np.array([1])), output="action"
    )
    return Form(g.model([("obs", FLOAT, ["b", 4])], [("action", INT64, ["b"])]), {})


def _shifted() -> Form:
    """Normal numbers of a shape that is a constant, with a mean and a scale of the operator's own."""
    g = Graph(2)
    g.add("Add", "obs", g.add("RandomNormal", shape=[1, 4], mean=2.0, scale=0.5), output="action")
    return Form(g.model([("obs", FLOAT, [1, 4])], [("action", FLOAT, [1, 4])]), {})


def _two_samples(policy: OnnxPolicy) -> float:
    """The smallest p-value of the file's own draws against those with noise, over one observation."""
    (spec,), generator = policy.interface.observation, np.random.default_rng(0)
    inputs = {spec.name: np.repeat(generator.standard_normal((1, *spec.shape)), ROWS, axis=0).astype(np.float32)}
    draws = policy.interface.noise_draws
    noise = draw_noise(sampling_explore(draws), ROWS, draws, generator)
    both = policy.sample(inputs), policy.run_act(inputs | {"noise": noise})
    return min(p for p, _ in two_sample_tests(*both, policy.interface, generator))


@pytest.mark.parametrize("form", [onnx_forms.cleanrl_gaussian, _categorical, _shifted])
def test_noise_has_the_distribution_of_the_files_own_draws(form: Any, tmp_path: Path) -> None:
    """By two-sample tests; a wrong scale or order would be found at once."""
    policy = opened(form(), tmp_path)
    assert policy.sampling is not None
    assert policy.sampling.kind == "sampled"
    assert _two_samples(policy) > 1e-6


def test_zero_noise_is_the_mean(tmp_path: Path) -> None:
    """And a normal number of noise is one deviation."""
    policy = opened(_shifted(), tmp_path)
    inputs = {"observation": np.zeros((1, 4), np.float32), "noise": np.array([[0, 1, -1, 2]], np.float32)}
    assert policy.run_act(inputs)["action"].tolist() == [[2.0, 2.5, 1.5, 3.0]]


def _with(kind: str, **attributes: Any) -> Form:
    g = Graph()
    g.add("Add", "obs", g.add(kind, "obs", **attributes), output="action")
    return Form(g.model([("obs", FLOAT, ["b", 4])], [("action", FLOAT, ["b", 4])]), {})


def _within_a_branch() -> Form:
    g = Graph()
    branches = {}
    for name, kind in (("then_branch", "RandomNormalLike"), ("else_branch", "Identity")):
        result = helper.make_tensor_value_info("y", FLOAT, None)
        branches[name] = helper.make_graph([helper.make_node(kind, ["obs"], ["y"])], name, [], [result])
    g.add("If", g.constant(np.array(True)), output="action", **branches)
    return Form(g.model([("obs", FLOAT, ["b", 4])], [("action", FLOAT, ["b", 4])]), {})


def _shared() -> Form:
    g = Graph()
    g.add("Add", "obs", g.add("RandomNormal", shape=[4]), output="action")
    return Form(g.model([("obs", FLOAT, ["b", 4])], [("action", FLOAT, ["b", 4])]), {})


def _dropout() -> Form:
    g = Graph()
    ratio, training = g.constant(np.array(0.5, np.float32)), g.constant(np.array(True))
    g.add("Dropout", "obs", ratio, training, output="action")
    return Form(g.model([("obs", FLOAT, ["b", 4])], [("action", FLOAT, ["b", 4])]), {})


def _many_samples() -> Form:
    g = Graph()
    g.add("Multinomial", "obs", output="action", sample_size=3, dtype=TensorProto.INT32)
    return Form(g.model([("obs", FLOAT, ["b", 4])], [("action", TensorProto.INT32, ["b", 3])]), {})


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        (_with("RandomUniformLike", dtype=FLOAT), "draws its actions uniformly (RandomUniformLike"),
        (_with("Bernoulli", dtype=FLOAT), "draws its actions uniformly (Bernoulli"),
        (_within_a_branch(), "draws within a branch or a loop (RandomNormalLike"),
        (_shared(), "draws numbers of the shape [4], which belong to no row"),
        (_dropout(), "may still draw; export it for inference"),
        (_many_samples(), "draws several samples for one observation"),
    ],
)
def test_draws_that_cannot_become_an_input_are_named(form: Form, sentence: str, tmp_path: Path) -> None:
    """With what to export instead."""
    with pytest.raises(ExportRefused) as refusal:
        opened(form, tmp_path)
    assert sentence in str(refusal.value)
