"""What a model card says of sampled policies, of actions of several parts, and of graphs for one row."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from msgspec.structs import replace
from tritonclient.grpc import model_config_pb2

from rlway_client.contract.exploration import Explore
from rlway_client.contract.interface import Draw
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest, Measured, Parity, Sampling
from rlway_client.contract.specs import TensorSpec
from rlway_export.bundle.model_card import model_card
from rlway_export.bundle.triton import triton_config
from rlway_export.bundle.usage import usage

SAMPLED = Sampling(kind="sampled", observations=64, rows=4096, tests=128, p_value=0.0123, level=1e-6)


def parity(file: str, batches: list[int]) -> Parity:
    return Parity(
        file=file,
        observations=2048,
        batch_sizes=batches,
        max_difference=1e-7,
        mean_difference=1e-8,
        argmax_flips=0,
        smallest_flip_gap=None,
        passed=True,
        threshold="|Δ| ≤ 1e-05 of each output's range",
    )


def facts(**fields: Any) -> Manifest:
    """A policy that gives a gear and a steering, and reads the reward."""
    common: dict[str, Any] = {
        "schema_version": MANIFEST_SCHEMA,
        "policy": "driving",
        "version": 1,
        "algorithm": None,
        "env": "Somewhere-v0",
        "observation": [TensorSpec("observation", (2,), "float32")],
        "action": [
            TensorSpec("action_gear", (), "int64", 0, 1, ("gear",)),
            TensorSpec("action_steering", (2,), "float32", -1, 1, ("wheel", "steering")),
        ],
        "noise": TensorSpec("noise", (4,), "float32"),
        "draws": [Draw("gumbel", 2), Draw("normal", 2)],
        "time_step": [TensorSpec("reward", (), "float32")],
        "sampling": SAMPLED,
        "parity": [parity("model.onnx", [1, 7, 64])],
        "measured": [
            Measured(
                file="model.onnx",
                action_us=9.5,
                batch_sizes=[1, 7, 64],
                batch_difference=0.0,
                batch_changed_actions=0,
            )
        ],
    }
    return Manifest(**common | fields)


def test_the_card_says_where_parts_lie_and_what_was_compared(tmp_path: Path) -> None:
    """Keys of the action, the draws, the sampling that was compared, the default, the time step."""
    card = model_card(facts(explore=Explore(temperature=1.0, sigma=1.0)), tmp_path)
    for words in (
        '| output `action_steering`: `action["wheel"]["steering"]` | float32[2] |',
        "noise holds 2 Gumbel numbers, then 2 standard normal numbers; zeros give the greedy action.",
        "Where a request does not say, actions are drawn with temperature 1 and sigma 1.",
        "over 4,096 draws for each of 64 observations: the smallest p-value of 128 tests is 0.012 (below 1e-06 nothing",
        "The policy also reads reward of the time step",
    ):
        assert words in card


def test_the_card_of_a_source_that_explored_says_so(tmp_path: Path) -> None:
    """Its files hold the greedy policy, whose exploration is an option."""
    discrete = TensorSpec("action", (), "int64", 0, 1)
    sampling = Sampling(kind="epsilon-greedy", epsilon=0.1)
    noise, draws = TensorSpec("noise", (2,), "float32"), [Draw("gumbel", 2)]
    manifest = facts(action=discrete, noise=noise, draws=draws, sampling=sampling, time_step=[])
    for explore, words in (
        (None, "Where a request does not say, the action is the greedy one. The source acted ε-greedily 0.1"),
        (Explore(epsilon=0.1), "actions are drawn with epsilon 0.1. The source acted ε-greedily 0.1; its files hold"),
    ):
        assert words in model_card(replace(manifest, explore=explore), tmp_path)


@pytest.mark.parametrize(
    ("explore", "expected"),
    [
        (None, ["--temperature", "1", "--sigma", "1"]),
        (Explore(temperature=1.0, sigma=1.0), ["--temperature", "0"]),
    ],
)
def test_the_commands_show_how_to_get_the_other_actions(explore: Explore | None, expected: list[str]) -> None:
    """Drawn where the default is greedy, greedy where the default is drawn."""
    lines = [shlex.split(line, comments=True) for line in usage(facts(explore=explore)).splitlines()]
    plays = [line for line in lines if line[1] == "play"]
    assert plays[1][: len(plays[0])] == plays[0]
    assert plays[1][len(plays[0]) :] == expected


def test_a_graph_for_one_row_is_not_batched_by_triton() -> None:
    """Its dimensions include the batch."""
    config = text_format.Parse(triton_config(facts(parity=[parity("model.onnx", [1])])), model_config_pb2.ModelConfig())
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert {tensor.name: list(tensor.dims) for tensor in config.output} == {
        "action_gear": [1],
        "action_steering": [1, 2],
    }
    assert not any(tensor.HasField("reshape") for tensor in (*config.input, *config.output))
