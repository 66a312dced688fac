"""The noise of exploration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlway_client import Explore
from rlway_client.contract.errors import SpecViolated
from rlway_client.contract.exploration import check_explore, draw_noise, sampling_explore
from rlway_client.contract.interface import Draw
from tests.clients.contract.generated import THOROUGH

NAN = float("nan")
SEEDS = st.integers(0, 2**63 - 1)
EXPLORATIONS = st.one_of(
    st.builds(Explore, epsilon=st.floats(0, 1)),
    st.builds(Explore, temperature=st.floats(0, 1e6)),
    st.builds(Explore, sigma=st.floats(0, 1e6)),
)


@THOROUGH
@given(explore=EXPLORATIONS, rows=st.integers(1, 20), n=st.integers(1, 8), seed=SEEDS)
def test_noise_is_finite_and_decided_by_its_generator(explore: Explore, rows: int, n: int, seed: int) -> None:
    """float32[rows, n] without NaN or infinity, and the same from an equal generator."""
    noise = draw_noise(explore, rows, [Draw("gumbel", n)], np.random.default_rng(seed))
    assert noise.shape == (rows, n)
    assert noise.dtype == np.float32
    assert np.isfinite(noise).all()
    np.testing.assert_array_equal(noise, draw_noise(explore, rows, [Draw("gumbel", n)], np.random.default_rng(seed)))


@pytest.mark.parametrize("explore", [Explore(epsilon=0), Explore(temperature=0), Explore(sigma=0)])
def test_exploring_by_zero_is_zero_noise(explore: Explore) -> None:
    """Zero noise gives the greedy action."""
    assert not draw_noise(explore, 100, [Draw("gumbel", 3)], np.random.default_rng(0)).any()


@THOROUGH
@given(rows=st.integers(1, 50), n=st.integers(1, 8), seed=SEEDS)
def test_epsilon_one_forces_one_action_of_each_row(rows: int, n: int, seed: int) -> None:
    """One entry of each row is above any Q-value, the others are zero."""
    noise = draw_noise(Explore(epsilon=1.0), rows, [Draw("gumbel", n)], np.random.default_rng(seed))
    assert (np.count_nonzero(noise, axis=1) == 1).all()
    assert noise.max(axis=1).min() > 1e29


def test_gumbel_noise_samples_the_softmax() -> None:
    """argmax(q + noise) has the frequencies of softmax(q / T)."""
    q, temperature = np.array([1.0, 2.0, 0.5]), 0.7
    noise = draw_noise(Explore(temperature=temperature), 50_000, [Draw("gumbel", 3)], np.random.default_rng(0))
    found = np.bincount((q + noise).argmax(axis=1), minlength=3) / 50_000
    expected = np.exp(q / temperature) / np.exp(q / temperature).sum()
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_only_the_exploration_of_the_action_space_is_taken() -> None:
    """Discrete: epsilon or temperature; continuous: sigma; without a noise input nothing."""
    discrete, continuous = [Draw("gumbel", 2)], [Draw("normal", 2)]
    check_explore(Explore(epsilon=0.5), discrete)
    check_explore(Explore(temperature=0.5), discrete)
    check_explore(Explore(sigma=0.5), continuous)
    for explore, draws in [
        (Explore(sigma=0.5), discrete),
        (Explore(epsilon=0.5), continuous),
        (Explore(epsilon=0.5, temperature=1), discrete),
        (Explore(), discrete),
        (Explore(epsilon=1.01), discrete),
        (Explore(temperature=NAN), discrete),
        (Explore(sigma=-1), continuous),
        (Explore(epsilon=0.5), []),
    ]:
        with pytest.raises(SpecViolated, match="explore"):
            check_explore(explore, draws)


MIXED = [Draw("gumbel", 3), Draw("normal", 2), Draw("gumbel", 2)]


def test_draws_of_both_kinds_take_both_options() -> None:
    """What is not given stays greedy; the draws lie in `noise` in their order."""
    assert sampling_explore(MIXED) == Explore(temperature=1.0, sigma=1.0)
    for explore in (sampling_explore(MIXED), Explore(temperature=2.0), Explore(sigma=0.5)):
        check_explore(explore, MIXED)
        noise = draw_noise(explore, 5000, MIXED, np.random.default_rng(0))
        normal, gumbel = noise[:, 3:5], np.concatenate([noise[:, :3], noise[:, 5:]], axis=1)
        np.testing.assert_allclose(normal.std(), explore.sigma or 0.0, rtol=0.02)
        np.testing.assert_allclose(gumbel.std(), (explore.temperature or 0.0) * np.pi / np.sqrt(6), rtol=0.02)
    for explore, says in [
        (Explore(), "explore: expected one or both of temperature, sigma, got none"),
        (Explore(epsilon=0.1, sigma=1.0), "explore: expected one or both of temperature, sigma, got epsilon, sigma"),
        (Explore(epsilon=0.1), "explore.epsilon: expected temperature or sigma for a mixed action, got epsilon"),
        (Explore(sigma=-1.0), "explore.sigma: expected a number from 0 to 1e.06, got -1"),
    ]:
        with pytest.raises(SpecViolated, match=f"^{says}$"):
            check_explore(explore, MIXED)


def test_epsilon_forces_a_choice_of_every_discrete_part() -> None:
    """A row explores in all of its parts, or in none."""
    draws = [Draw("gumbel", 3), Draw("gumbel", 2)]
    check_explore(Explore(epsilon=0.5), draws)
    noise = draw_noise(Explore(epsilon=0.5), 1000, draws, np.random.default_rng(0))
    forced = [np.count_nonzero(part, axis=1) for part in np.split(noise, [3], axis=1)]
    np.testing.assert_array_equal(*forced)
    assert set(forced[0]) == {0, 1}


@pytest.mark.parametrize("draws", [[Draw("gumbel", 4)], [Draw("normal", 2)]])
def test_one_kind_of_draws_is_sampled_by_its_own_option(draws: list[Draw]) -> None:
    """With the distribution of the policy's own draws."""
    check_explore(sampling_explore(draws), draws)
