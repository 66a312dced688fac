"""The gate: files that act alike pass, files that do not are refused and never published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import numpy_helper

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.evidence import Evidence
from rlway_client.contract.interface import TIME_STEP, Draw, Interface
from rlway_client.contract.manifest import Parity
from rlway_client.contract.parity import Arrays, Runner, summarize
from rlway_client.contract.run import read_run
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.runners import OnnxRunner
from rlway_export.bundle.conversion import describe
from rlway_export.bundle.writer import write_bundle
from rlway_export.checks import parity
from rlway_export.checks.observations import Observations
from rlway_export.common.provenance import Provenance
from rlway_export.formats.context import Context
from rlway_export.formats.registry import FLOAT32, FORMATS, parse_formats
from rlway_export.reference.policy import ActPolicy
from rlway_export.sources.run import RunSource

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def policy(trained_run: Path, bundle: Bundle) -> ActPolicy:
    return ActPolicy(bundle.path, read_run(trained_run).interface, "bundle")


@pytest.fixture(scope="session")
def observations(trained_run: Path) -> Arrays:
    with np.load(trained_run / "observations.npz") as arrays:
        return dict(arrays)


def judge(policy: ActPolicy, runner: Runner, observations: Arrays) -> list[Parity]:
    """Judged as a float32 file is."""
    return parity.judge(parity.gather(policy, observations), policy, Path("file"), runner, FLOAT32)


def nudged(bundle: Bundle, amount: float, destination: Path) -> OnnxRunner:
    """The bundle's ONNX file with one weight of its last layer changed."""
    model = onnx.load(bundle.path / "model.onnx")
    weights = next(i for i in model.graph.initializer if len(i.dims) == 2 and i.dims[1] == 2)
    values = numpy_helper.to_array(weights).copy()
    values[:, 0] += amount
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.save(model, destination)
    return OnnxRunner(destination)


def test_a_file_with_other_weights_does_not_pass(
    policy: ActPolicy, bundle: Bundle, observations: Arrays, tmp_path: Path
) -> None:
    """One column of weights off by 0.1 changes actions, and the report counts them."""
    found = summarize(judge(policy, nudged(bundle, 0.1, tmp_path / "m.onnx"), observations))
    assert not found.passed
    assert found.argmax_flips > 0
    assert found.smallest_flip_gap is not None


def test_an_untouched_file_passes_at_every_batch_size(policy: ActPolicy, bundle: Bundle, observations: Arrays) -> None:
    """The same observations in batches of 1, 7 and 64 give the SavedModel's values."""
    details = judge(policy, OnnxRunner(bundle.path / "model.onnx"), observations)
    assert [p.batch_sizes for p in details] == [[1], [7], [64]]
    assert all(p.passed and p.observations >= 2000 for p in details)


def test_an_export_whose_file_fails_the_gate_publishes_nothing(trained_run: Path, tmp_path: Path) -> None:
    """The error names the file and the difference; neither a version nor a draft is left."""
    one = FORMATS["onnx"]

    def write_wrongly(context: Context) -> None:
        one.write(context)
        model = onnx.load(context.folder / "model.onnx")
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
        onnx.save(model, context.folder / "model.onnx")

    wrong = one._replace(write=write_wrongly)
    expected = r"^model\.onnx does not act as the SavedModel does: expected .*, got .*; leave onnx out of --formats"
    with pytest.raises(ExportRefused, match=expected):
        write_bundle(RunSource.open(trained_run, "best"), tmp_path / "models", "cartpole", [wrong], lambda _: None)
    assert not (tmp_path / "models").exists()


@pytest.fixture(scope="session")
def gaussian(tmp_path_factory: pytest.TempPathFactory) -> ActPolicy:
    """A continuous policy as a SavedModel: action = mean + magnitude · tanh(loc + scale · noise)."""
    kernel = tf.Variable(np.random.default_rng(3).standard_normal((3, 2)).astype(np.float32))

    def act(observation: Any, noise: Any) -> dict[str, Any]:
        loc = tf.linalg.matmul(observation, kernel)
        scale = tf.exp(0.1 * loc)
        return {"action": 1.0 + 2.0 * tf.tanh(loc + scale * noise), "loc": loc, "scale": scale}

    module = tf.Module()
    module.kernel = kernel
    signature = [tf.TensorSpec([None, n], tf.float32, name=name) for name, n in (("observation", 3), ("noise", 2))]
    module.act = tf.function(act, input_signature=signature)
    path = tmp_path_factory.mktemp("gaussian") / "saved_model"
    tf.saved_model.save(module, str(path))
    interface = Interface(
        observation=[TensorSpec("observation", (3,), "float32")],
        actions=[TensorSpec("action", (2,), "float32", -1, 3)],
        noise=TensorSpec("noise", (2,), "float32"),
        state=[],
        outputs=[TensorSpec("loc", (2,), "float32"), TensorSpec("scale", (2,), "float32")],
    )
    return ActPolicy(path, interface, path.name)


def test_a_continuous_policy_keeps_its_sampled_actions_in_every_file(gaussian: ActPolicy, tmp_path: Path) -> None:
    """In ONNX and TFLite, greedy and noisy rows stay within the threshold of the action's range."""
    trained = Provenance("sac", None, None, None, {})
    rows = {"observation": np.random.default_rng(0).standard_normal((2100, 3)).astype(np.float32)}
    manifest = describe(trained, gaussian, Observations(rows, "given"), [], "gaussian", 1)
    context = Context(tmp_path, gaussian, manifest, parity.gather(gaussian, rows), gaussian)
    for one in parse_formats("onnx,tflite"):
        one.write(context)
        found = summarize(judge(gaussian, one.open(context), rows))
        assert found.passed, found
        assert found.observations == 2048


class Formula:
    """A policy, or a file of it, of one number."""

    batch_sizes = (64,)
    interface = Interface(
        [TensorSpec("observation", (1,), "float32")], [TensorSpec("action", (1,), "float32")], None, [], []
    )

    def __init__(self, formula: Callable[[Any], Any]) -> None:
        self._formula = formula

    def run_act(self, inputs: Arrays) -> Arrays:
        return {"action": self._formula(inputs["observation"])}

    run = run_act


@pytest.mark.parametrize(
    ("formula", "error", "passes"),
    [
        (lambda x: (x - 1) * np.float32(1e3), 1e-4, True),  # the rounding of x, a thousand times larger
        (lambda x: (x - 1) * np.float32(1e3), 1e-2, False),
        (np.floor, 1e-2, False),  # which jumps at the whole numbers that are observed
    ],
)
def test_what_rounding_changes_in_the_policy_excuses_a_file_to_a_limit(
    formula: Callable[[Any], Any], error: float, passes: bool
) -> None:
    """A jump of the policy does not count as rounding."""
    inputs = {"observation": np.ones((64, 1), np.float32)}
    policy: Any = Formula(formula)
    evidence = Evidence(inputs, policy.run_act(inputs))
    file = Formula(lambda x: formula(x) + np.float32(error))
    assert summarize(parity.judge(evidence, policy, Path("file"), file, FLOAT32)).passed is passes


def test_half_of_the_rows_are_drawn_as_the_policy_draws() -> None:
    """Gumbel and normal numbers where the draws say so; zeros in the other half."""
    noise = parity.sample_noise([Draw("gumbel", 3), Draw("normal", 2)], 4000)
    drawn = noise[noise.any(axis=1)]
    assert noise.shape == (4000, 5)
    assert 1800 < len(drawn) < 2200
    np.testing.assert_allclose(drawn[:, :3].mean(), np.euler_gamma, atol=0.05)
    np.testing.assert_allclose(drawn[:, 3:].mean(), 0.0, atol=0.05)
    np.testing.assert_allclose(drawn[:, 3:].std(), 1.0, atol=0.05)


def test_half_of_the_rows_have_another_time_step() -> None:
    """Rewards, discounts and step types of every kind; in the other half they are neutral."""
    specs = [TensorSpec(name, (), dtype) for name, dtype in TIME_STEP.items()]
    found = parity.vary_time_step(specs, 4000)
    assert {name: str(values.dtype) for name, values in found.items()} == TIME_STEP
    told = found["reward"] != 0
    assert 1800 < told.sum() < 2200
    assert set(found["discount"][~told]) == {1}
    assert set(found["step_type"][~told]) == {1}
    assert set(found["discount"][told]) == {0, 1}
    assert set(found["step_type"][told]) == {0, 1, 2}
    assert parity.vary_time_step([], 10) == {}
