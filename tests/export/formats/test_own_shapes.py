"""Policies of environments with shapes and numbers of their own, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf2onnx
from gymnasium.envs.registration import EnvSpec

from rlway_client.contract.specs import TensorSpec
from rlway_train.agents.factory import make_learner
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.domain import Domain
from tests.export.formats.c.c_policies import answers, draw, make_manifest

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"hidden": (6,), "block_steps": 64, "xla": False}
POLICIES = [
    (TensorSpec("observation", (3, 3), "float32"), TensorSpec("action", (1,), "int64", 5, 7), DqnSettings(**SMALL)),
    (TensorSpec("observation", (2,), "bool"), TensorSpec("action", (), "int64", -1, 1), DqnSettings(**SMALL)),
    (
        TensorSpec("observation", (), "float32"),
        TensorSpec("action", (2, 2), "float32", [0, -2, -1, -1], 4),
        SacSettings(**SMALL),
    ),
]


@pytest.mark.parametrize(("observation", "action", "settings"), POLICIES)
def test_files_answer_in_the_environments_own_shapes_and_numbers(
    observation: TensorSpec, action: TensorSpec, settings: TrainingSettings, tmp_path: Path
) -> None:
    """In ONNX and in C: whole numbers counted as in the environment, floats within the bounds of each."""
    domain = Domain("imagined", EnvSpec("Imagined-v0"), [observation], action, discretize=None, action_values=None)
    learner = make_learner(settings, domain, seed=1)
    manifest = make_manifest(observation=[observation], action=action, noise=learner.noise, outputs=learner.outputs)
    signature = [tf.TensorSpec([None, *s.shape], s.dtype, s.name) for s in (observation, learner.noise)]
    act = learner.act()
    made, _ = tf2onnx.convert.from_function(
        tf.function(lambda observed, noise: act(observed, noise), input_signature=signature), signature, opset=17
    )
    generator = np.random.default_rng(3)
    rows = {spec.name: draw(spec, 60, generator) for spec in (observation, learner.noise)}
    expected, found = answers(made, manifest, rows, tmp_path)
    np.testing.assert_allclose(found["action"], expected["action"], rtol=1e-4, atol=1e-5)
    low, high = action.bounds()
    assert found["action"].shape == (60, *action.shape)
    assert ((found["action"] >= low) & (found["action"] <= high)).all()
    if action.is_discrete:
        assert set(found["action"].ravel()) == set(range(int(low.item()), int(high.item()) + 1))
