"""The two-sample tests by which a sampled policy is proven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.exploration import Explore
from rlway_client.contract.parity import Arrays
from rlway_export.checks import parity, sampling
from rlway_export.checks.sampling import compare_sampling, default_explore, fisher, kolmogorov_smirnov
from rlway_export.reference.graph_policy import GraphPolicy
from tests.export import stock

REPEATS = 2000
KINDS = [("sac", "policy"), ("ppo", "collect_policy"), ("ppo-discrete", "collect_policy"), ("dqn", "collect_policy")]


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GraphPolicy]:
    """One policy of each kind, as its agent saves it."""
    made = {}
    for kind, which in KINDS:
        folder = stock.save(getattr(stock.agent(kind), which), tmp_path_factory.mktemp(kind))
        made[kind] = GraphPolicy(folder, kind)
    return made


def rows(policy: GraphPolicy) -> Arrays:
    """Ten observations."""
    generator = np.random.default_rng(3)
    return {spec.name: generator.uniform(-1, 1, (10, *spec.shape)).astype("f") for spec in policy.interface.observation}


def run(policy: GraphPolicy, inputs: Arrays) -> Arrays:
    """The graph that is converted."""
    outputs = policy.convertible(None).act(*(inputs[spec.name] for spec in policy.interface.inputs))
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.mark.parametrize("level", [0.5, 0.1, 0.01])
def test_equal_distributions_are_rejected_no_more_often_than_the_level(level: float) -> None:
    """Over 2,000 pairs of samples; the binomial spread of such a share is below 0.012."""
    generator = np.random.default_rng(0)
    continuous = [kolmogorov_smirnov(*generator.standard_normal((2, 400))) for _ in range(REPEATS)]
    counts = generator.binomial(400, 0.3, (REPEATS, 2))
    discrete = [fisher(int(first), int(second), 400) for first, second in counts]
    for found in (continuous, discrete):
        assert np.mean(np.array(found) < level) < level + 0.03


@pytest.mark.parametrize(("shift", "scale"), [(0.2, 1.0), (0.0, 1.3)])
def test_another_distribution_is_rejected(shift: float, scale: float) -> None:
    """A mean that is a fifth of a deviation off, a deviation that is a third off."""
    first, second = np.random.default_rng(0).standard_normal((2, sampling.ROWS))
    assert kolmogorov_smirnov(first, second * scale + shift) < sampling.LEVEL / 100
    assert fisher(400, 600, sampling.ROWS) < sampling.LEVEL


@given(st.integers(0, 50), st.integers(0, 50))
def test_fishers_test_is_symmetric_and_a_probability(first: int, second: int) -> None:
    """In its two counts, and in what is counted."""
    found = fisher(first, second, 50)
    assert 0 < found <= 1
    assert found == pytest.approx(fisher(second, first, 50))
    assert found == pytest.approx(fisher(50 - first, 50 - second, 50))


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_a_policy_draws_as_its_source(kind: str, policies: dict[str, GraphPolicy]) -> None:
    """By the gate's own tests, which say what they did."""
    policy = policies[kind]
    found = compare_sampling(policy, lambda inputs: run(policy, inputs), 512, rows(policy), "file")
    assert found is not None
    assert found.p_value is not None
    assert found.p_value > sampling.LEVEL / found.tests
    assert (found.observations, found.rows, found.level) == (sampling.OBSERVATIONS, sampling.ROWS, sampling.LEVEL)
    assert found.tests >= sampling.OBSERVATIONS
    assert (found.kind, found.epsilon) == (("epsilon-greedy", 0.1) if kind == "dqn" else ("sampled", None))


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_noise_of_another_size_is_refused(kind: str, policies: dict[str, GraphPolicy]) -> None:
    """A graph that takes four fifths of normal noise, half of Gumbel noise; for ε-greedy, one that never explores."""
    policy = policies[kind]
    share = {"dqn": 0.0, "ppo-discrete": 0.5}.get(kind, 0.8)

    def spoilt(inputs: Arrays) -> Arrays:
        return run(policy, inputs | {"noise": (inputs["noise"] * share).astype("f")})

    with pytest.raises(ExportRefused, match=r"^model\.onnx: draws .* with another distribution than its source"):
        compare_sampling(policy, spoilt, 512, rows(policy), "model.onnx")


def test_exploration_by_default_is_what_the_source_did(policies: dict[str, GraphPolicy], tmp_path: Path) -> None:
    """Normal draws take σ, choices a temperature, an ε-greedy policy its ε, a greedy one nothing."""
    found = {kind: default_explore(policy) for kind, policy in policies.items()}
    assert found == {
        "sac": Explore(sigma=1.0),
        "ppo": Explore(sigma=1.0),
        "ppo-discrete": Explore(temperature=1.0),
        "dqn": Explore(epsilon=0.1),
    }
    assert default_explore(GraphPolicy(stock.save(stock.greedy("dqn"), tmp_path / "greedy"), "greedy")) is None


def test_a_policy_that_gives_no_number_is_refused_before_any_file_is_compared(tmp_path: Path) -> None:
    """An infinite deviation times zero noise is none."""
    agent = stock.agent("sac")
    for variable in agent.policy.variables()[-2:]:  # the projection to means and deviations
        variable.assign_add(np.full(variable.shape, 1e3, np.float32))
    policy = GraphPolicy(stock.save(agent.policy, tmp_path / "wide"), "wide")
    with pytest.raises(ExportRefused, match=r"^the policy gives no finite action for .* of the 10 observations"):
        parity.gather(policy, rows(policy))
