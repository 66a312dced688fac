"""A function whose tensors have names, as a policy: compared with the function itself, in every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import rlway_export
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, RlwayError, UsageError
from rlway_client.contract.evidence import Evidence
from tests.export import networks

pytestmark = pytest.mark.slow

EVERY = "onnx,tflite,c"


def exported(path: Path, models: Path, formats: str = "onnx", **options: Any) -> Bundle:
    return rlway_export.export(path, models, "p", formats=formats, **options)


def evidence(bundle: Bundle) -> Evidence:
    return Evidence.read(bundle.path / "parity.npz", bundle.manifest)


def labels(bundle: Bundle) -> tuple[list[str], list[str]]:
    interface = bundle.manifest.interface
    inputs, results = ([f"{spec.name} {spec.label}" for spec in side] for side in (interface.inputs, interface.results))
    return inputs, results


@pytest.mark.parametrize("meaning", ["q_values", "logits"])
def test_scores_become_an_action_with_noise(meaning: str, tmp_path: Path) -> None:
    """The answers are those of the network, and the action is the place of the largest of scores plus noise."""
    network = networks.q_network()
    bundle = exported(networks.save(network, tmp_path / "q.keras"), tmp_path, EVERY, meaning=meaning)
    assert labels(bundle) == (["observation float32[4]", "noise float32[3]"], ["action int64", f"{meaning} float32[3]"])
    (action,) = bundle.manifest.actions
    assert (action.minimum, action.maximum) == (0, 2)
    proof = evidence(bundle)
    scores = network(proof.inputs["observation"]).numpy()
    np.testing.assert_allclose(proof.expected[meaning], scores, atol=1e-6)
    np.testing.assert_array_equal(proof.expected["action"], np.argmax(scores + proof.inputs["noise"], 1))
    assert np.any(proof.inputs["noise"])


def test_the_saved_model_of_the_bundle_is_the_network(tmp_path: Path) -> None:
    """TensorFlow Serving serves it by the network's own names."""
    network = networks.dueling()
    path = networks.save(network, tmp_path / "q.keras")
    bundle = exported(path, tmp_path, meaning="q_values", action="scores", observation=["goal", "body"])
    serve = tf.saved_model.load(str(bundle.path)).signatures["serving_default"]
    rows = {"body": tf.random.normal([5, 4]), "goal": tf.random.normal([5, 2])}
    scores, value = network([rows["body"], rows["goal"]])
    given = serve(**rows)
    np.testing.assert_allclose(given["scores"], scores, atol=1e-6)
    np.testing.assert_allclose(given["value"], value, atol=1e-6)


def test_several_observations_and_actions_keep_the_order_of_the_options(tmp_path: Path) -> None:
    """With a meaning for each action."""
    path = networks.save(networks.dueling(), tmp_path / "q.keras")
    wiring = {"observation": ["goal", "body"], "action": ["scores", "value"], "meaning": ["logits", "mean"]}
    bundle = exported(path, tmp_path, EVERY, **wiring)
    assert labels(bundle) == (
        ["observation_goal float32[2]", "observation_body float32[4]", "noise float32[3]"],
        ["action_scores int64", "action_value float32[1]", "logits_scores float32[3]"],
    )


def test_state_begins_with_zeros_where_an_episode_begins(tmp_path: Path) -> None:
    """And comes out under its own name, in every format."""
    network = networks.recurrent()
    path = networks.save(network, tmp_path / "q.keras")
    wiring = {"action": "values", "meaning": "q_values", "state": ["h:h_out", "c:c_out"]}
    bundle = exported(path, tmp_path, EVERY, **wiring)
    proof = evidence(bundle)
    seen, reset = proof.inputs["observation"], proof.inputs["reset"]
    h, c = (np.where(reset[:, None], 0, proof.inputs[f"state_{name}"]) for name in "hc")
    values, next_h, next_c = network([seen, h, c])
    assert reset.any()
    assert not reset.all()
    np.testing.assert_allclose(proof.expected["q_values"], values, atol=1e-5)
    np.testing.assert_allclose(proof.expected["next_state_h"], next_h, atol=1e-5)
    np.testing.assert_allclose(proof.expected["next_state_c"], next_c, atol=1e-5)


def test_a_network_of_one_row_takes_any_number(tmp_path: Path) -> None:
    """Its files run in batches of 1, 7 and 64."""
    path = networks.save(networks.of_one_row(), tmp_path / "q.keras")
    bundle = exported(path, tmp_path, meaning="action")
    assert bundle.manifest.parity[0].batch_sizes == [1, 7, 64]
    assert bundle.manifest.noise is None


def test_draws_of_a_signature_become_noise(tmp_path: Path) -> None:
    """Zero noise gives the mode; the manifest says that the source sampled."""
    kernel = networks.weights()

    def sample(obs: Any) -> dict[str, Any]:
        mean = obs @ kernel
        return {"action": tf.tanh(mean + 0.3 * tf.random.normal(tf.shape(mean)))}

    bundle = exported(networks.signed(sample, tmp_path / "saved", kernel=kernel), tmp_path, EVERY)
    proof = evidence(bundle)
    expected = np.tanh(proof.inputs["observation"] @ kernel.numpy() + 0.3 * proof.inputs["noise"])
    np.testing.assert_allclose(proof.expected["action"], expected, atol=1e-5)
    assert bundle.manifest.sampling is not None
    assert bundle.manifest.sampling.kind == "sampled"


def test_an_input_can_be_fixed(tmp_path: Path) -> None:
    """Such as the flag of a training, which has no batch."""
    kernel = networks.weights()

    def scores(obs: Any, training: Any) -> dict[str, Any]:
        return {"q_values": tf.cond(training, lambda: tf.zeros([1, 3]), lambda: obs @ kernel)}

    specs = (networks.OBSERVATION, tf.TensorSpec([], tf.bool, name="training"))
    saved = networks.signed(scores, tmp_path / "saved", *specs, kernel=kernel)
    proof = evidence(exported(saved, tmp_path, observation="obs", fixed="training=0"))
    np.testing.assert_allclose(proof.expected["q_values"], proof.inputs["observation"] @ kernel.numpy(), atol=1e-5)


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_saved_model_of_tensorflow_1_is_exported(use_resource: bool, tmp_path: Path) -> None:
    """With variables of either kind, and with an input that no output reads."""
    saved = networks.version1(tmp_path / "saved", use_resource)
    bundle = exported(saved, tmp_path, EVERY, meaning="logits", observation="x", fixed="training=0")
    proof = evidence(bundle)
    expected = proof.inputs["observation"] @ networks.weights().numpy()
    np.testing.assert_allclose(proof.expected["logits"], expected, atol=1e-5)


def test_recorded_answers_are_compared(tmp_path: Path) -> None:
    """Those of the framework that trained the network, by the network's own names."""
    network = networks.q_network()
    path = networks.save(network, tmp_path / "q.keras")
    rows = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    name = network.input_names[0]
    for file, offset in (("right.npz", 0.0), ("wrong.npz", 0.1)):
        np.savez(tmp_path / file, **{name: rows, "values": network(rows).numpy() + offset})
    exported(path, tmp_path / "models", meaning="q_values", reference=tmp_path / "right.npz")
    with pytest.raises(ExportRefused, match=r"does not answer as wrong.npz recorded: q_values differs by 1\.00e-01"):
        exported(path, tmp_path / "models", meaning="q_values", reference=tmp_path / "wrong.npz")


def _counts(folder: Path) -> Path:
    kernel = networks.weights()

    def act(obs: Any) -> dict[str, Any]:
        kernel.assign_add(tf.ones([4, 3]))
        return {"q": obs @ kernel}

    return networks.signed(act, folder, kernel=kernel)


def _free(folder: Path) -> Path:
    return networks.signed(lambda obs: {"q": tf.reduce_sum(obs, 1)}, folder, tf.TensorSpec([None, None, 3], name="obs"))


def _one_for_all(folder: Path) -> Path:
    return networks.signed(lambda obs: {"action": tf.reduce_sum(obs, 0)}, folder)


def _fixed(folder: Path) -> Path:
    spec = tf.TensorSpec([3, 4], tf.float32, name="obs")
    return networks.signed(lambda obs: {"q": obs - tf.reduce_mean(obs, 0)}, folder, spec)


def _network(folder: Path) -> Path:
    return networks.save(networks.q_network(), folder.with_suffix(".keras"))


def _continuous(folder: Path) -> Path:
    return networks.save(networks.of_one_row(), folder.with_suffix(".keras"))


def _two(folder: Path) -> Path:
    return networks.save(networks.dueling(), folder.with_suffix(".keras"))


def _single(folder: Path) -> Path:
    network = tf.keras.Sequential([tf.keras.Input([4]), tf.keras.layers.Dense(1)])
    return networks.save(network, folder.with_suffix(".keras"))


REFUSED: dict[str, tuple[Callable[[Path], Path], dict[str, Any], type[RlwayError], str]] = {
    "no meaning": (_network, {}, UsageError, r"what its output values float32\[\?, 3\] means is not known; say .*--as"),
    "an unknown meaning": (
        _network,
        {"meaning": "scores"},
        UsageError,
        "--as scores: expected one of action, q_values",
    ),
    "a name that does not exist": (
        _network,
        {"action": "value", "meaning": "logits"},
        UsageError,
        r"--action value: source.keras has no such output; did you mean values\?",
    ),
    "scores of one action": (
        _single,
        {"meaning": "logits"},
        ExportRefused,
        r"expected a score for each .* shape \[1\]",
    ),
    "two inputs": (
        _two,
        {"action": "scores", "meaning": "logits"},
        UsageError,
        "its input body has no role; say --obs",
    ),
    "a variable that changes": (_counts, {"meaning": "logits"}, ExportRefused, "changes a variable while it acts"),
    "a free size": (_free, {"meaning": "logits"}, ExportRefused, r"obs: expected only the batch to be free, got"),
    "an action for all rows": (_one_for_all, {}, ExportRefused, "expected an action for each of 3 observations"),
    "rows that belong together": (_fixed, {"meaning": "logits"}, ExportRefused, "takes 3 rows at once"),
    "a state of another shape": (
        _two,
        {"observation": ["body"], "state": ["goal:scores"], "action": "value", "meaning": "mean"},
        ExportRefused,
        r"--state: scores: expected the shape of the state that it becomes, \[3, 2\], got \[3, 3\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    """What the file takes and gives, or what to say instead; nothing is published."""
    make, options, kind, expected = REFUSED[case]
    path = make(tmp_path / "source")
    with pytest.raises(kind, match=expected):
        exported(path, tmp_path / "models", **options)
    assert not (tmp_path / "models").exists()
