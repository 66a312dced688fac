"""Every way in which a policy draws its action becomes the input `noise`, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tf_agents.policies.greedy_policy import GreedyPolicy

from rlway_client.contract.interface import Draw
from rlway_client.contract.parity import Arrays
from rlway_export.checks.parity import sample_noise
from rlway_export.reference.graph_policy import GraphPolicy
from tests.export import stock
from tests.export.graphs.drawing import (
    EXAMPLES,
    PUSH,
    Drawing,
    gumbel,
    normal,
    numbers,
    step_of,
    widths,
)

pytestmark = pytest.mark.slow

ROWS = 40
MANY = 4000
# The two distribution functions of samples of `MANY` differ by more once in a hundred million times.
MOST_APART = 0.07
SEEN = np.random.default_rng(0).uniform(-2, 2, (ROWS, 4)).astype(np.float32)


class Saved(NamedTuple):
    """TF-Agents' policy, and what the exporter made of its SavedModel."""

    policy: Any
    graph: GraphPolicy
    module: Any  # with the function to which the files are converted

    @classmethod
    def of(cls, policy: Any, folder: Path) -> Saved:
        graph = GraphPolicy(stock.save(policy, folder), str(folder))
        return cls(policy, graph, graph.module(None))

    def act(self, seen: Any, noise: Any) -> Arrays:
        return {name: value.numpy() for name, value in self.module.act(seen, noise).items()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """An example by its name; each saved and loaded once."""
    folder, made = tmp_path_factory.mktemp("draws"), dict[str, Saved]()

    def load(name: str) -> Saved:
        if name not in made:
            made[name] = Saved.of(EXAMPLES[name].policy(), folder / str(len(made)))
        return made[name]

    return load


@pytest.mark.parametrize("name", EXAMPLES)
def test_zero_noise_gives_the_greedy_action(name: str, saved: Callable[[str], Saved]) -> None:
    """That of TF-Agents' GreedyPolicy, with its type; each row's draws are told in the manifest's words."""
    policy, graph, _ = saved(name)
    interface = graph.interface
    assert interface.noise is not None
    assert interface.noise_draws == EXAMPLES[name].draws
    greedy = EXAMPLES[name].greedy
    expected = greedy(SEEN) if greedy else GreedyPolicy(policy).action(step_of(SEEN)).action
    zeros = np.zeros((ROWS, interface.noise.size), np.float32)
    for found in (graph.run_act({"observation": SEEN, "noise": zeros}), saved(name).act(SEEN, zeros)):
        for spec, action in zip(interface.actions, tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(found[spec.name], action, rtol=1e-5, atol=1e-5)
            assert found[spec.name].dtype == spec.dtype == action.dtype.name


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_noise_gives_the_original_graph_the_same_action(name: str, saved: Callable[[str], Saved]) -> None:
    """The original, whose draws are given the numbers; the graph that is converted, in batches and row by row."""
    graph = saved(name).graph
    noise = sample_noise(graph.interface.noise_draws, ROWS)
    expected = graph.run_act({"observation": SEEN, "noise": noise})
    together = saved(name).act(SEEN, noise)
    alone = [saved(name).act(SEEN[i : i + 1], noise[i : i + 1]) for i in range(3)]
    for output, values in expected.items():
        np.testing.assert_allclose(together[output], values, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.concatenate([row[output] for row in alone]), values[:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EXAMPLES)
def test_drawn_noise_gives_actions_of_the_policys_own_distribution(name: str, saved: Callable[[str], Saved]) -> None:
    """Those of the SavedModel itself, for one observation: each element, and their sum."""
    graph = saved(name).graph
    seen = np.repeat(SEEN[3:4], MANY, axis=0)
    draws, generator = graph.interface.noise_draws, np.random.default_rng(1)
    drawn = {
        "normal": lambda size: generator.standard_normal((MANY, size)),
        "gumbel": lambda size: generator.gumbel(size=(MANY, size)),
    }
    noise = np.concatenate([drawn[draw.distribution](draw.size) for draw in draws], axis=1).astype(np.float32)
    found, own = saved(name).act(seen, noise), graph.sample({"observation": seen})
    for spec in graph.interface.actions:
        a, b = (side[spec.name].reshape(MANY, -1).astype(np.float64) for side in (found, own))
        for column in (*range(a.shape[1]), None):
            one, other = (side.sum(axis=1) if column is None else side[:, column] for side in (a, b))
            assert apart(one, other) < MOST_APART
        assert len(np.unique(b, axis=0)) > 1


def apart(first: Any, second: Any) -> float:
    """The largest difference of the two empirical distribution functions."""
    every = np.unique(np.concatenate([first, second]).round(5))
    shares = [np.searchsorted(np.sort(side.round(5)), every, "right") / len(side) for side in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(row=st.integers(0, ROWS - 1), seed=st.integers(0, 99))
def test_the_noise_of_one_row_changes_no_other_row(
    name: str, row: int, seed: int, saved: Callable[[str], Saved]
) -> None:
    """Whatever the draw's axes are; with much larger noise the row's own action changes in most rows."""
    graph = saved(name).graph
    noise = sample_noise(graph.interface.noise_draws, ROWS)
    other = noise.copy()
    other[row] += 9 * np.random.default_rng(seed).standard_normal(noise.shape[1]).astype(np.float32)
    before, after = (saved(name).act(SEEN, given) for given in (noise, other))
    for output, values in before.items():
        np.testing.assert_array_equal(np.delete(values, row, 0), np.delete(after[output], row, 0))


def test_logits_are_told_with_the_choice(saved: Callable[[str], Saved]) -> None:
    """They say how near another action was. Of a choice of several parts, there is a row for each."""
    for name, shape in (("Categorical", (3,)), ("Categorical of several", (3, 5)), ("random.categorical", (3,))):
        graph = saved(name).graph
        (scores,) = graph.interface.outputs
        assert (scores.name, scores.shape) == ("logits", shape)
        zeros = np.zeros((ROWS, int(np.prod(shape))), np.float32)
        expected = numbers(SEEN, *shape).numpy()
        found = graph.run_act({"observation": SEEN, "noise": zeros})["logits"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    graph = saved("mixed parts").graph
    assert [spec.name for spec in graph.interface.outputs] == ["logits_grip"]


def test_bandits_draw_too(tmp_path: Path) -> None:
    """Thompson sampling draws the rewards of all arms, a Boltzmann policy one arm by its expected reward."""
    seen, zeros = np.repeat(SEEN[:1], MANY, axis=0), np.zeros((ROWS, 3), np.float32)
    for name, draw in (("thompson", normal(3)), ("boltzmann_bandit", gumbel(3))):
        saved = Saved.of(stock.initialized(getattr(stock, name)()).policy, tmp_path / name)
        assert saved.graph.interface.noise_draws == [draw]
        noise = np.random.default_rng(2).standard_normal((MANY, 3)).astype(np.float32)
        if draw.distribution == "gumbel":
            noise = np.random.default_rng(2).gumbel(size=(MANY, 3)).astype(np.float32)
            greedy = GreedyPolicy(saved.policy).action(step_of(SEEN)).action
            np.testing.assert_array_equal(saved.act(SEEN, zeros)["action"], greedy)
        found, own = saved.act(seen, noise)["action"], saved.graph.sample({"observation": seen})["action"]
        assert apart(found.astype(np.float64), own.astype(np.float64)) < MOST_APART


def test_a_draw_on_which_no_action_depends_is_left_out(tmp_path: Path) -> None:
    """Even one that no input could replace."""

    def act(seen: Any) -> Any:
        tf.random.gamma([], widths(seen, 2))
        return numbers(seen, 2)

    graph = GraphPolicy(stock.save(Drawing(PUSH, act), tmp_path / "source"), "idle")
    assert graph.interface.noise is None
    assert graph.sampling is None


def test_a_draw_for_all_rows_is_made_for_each(tmp_path: Path) -> None:
    """TD3's collect policy adds the same noise to every row, and acts on one row at a time. A note says so."""
    agent = stock.agent("td3")
    saved = Saved.of(agent.collect_policy, tmp_path / "source")
    assert saved.graph.interface.noise_draws == [Draw("normal", 2)]
    (note,) = saved.graph.notes
    assert "draws the same numbers for all rows of a batch; its files take others for each" in note
    noise = np.random.default_rng(0).standard_normal((ROWS, 2)).astype(np.float32)
    found = saved.act(SEEN, noise)["action"]
    mean = agent.policy.action(step_of(SEEN)).action.numpy()
    expected = np.clip(mean + 0.1 * noise, stock.PUSH.minimum, stock.PUSH.maximum)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
