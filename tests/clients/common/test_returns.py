"""How returns are written: with the digits that their spread asks for, and so that they can be told apart."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlway_client.cli.progress import print_played
from rlway_client.common.returns import show_estimate, show_mean, show_returns, show_together
from rlway_client.envs.episodes import PlayedEpisodes

RETURNS = st.floats(-1e4, 1e4).map(lambda value: round(value, 4))


@pytest.mark.parametrize(
    ("returns", "shown"),
    [
        ([0.84] * 10, "0.84 over 10 episodes (0.84 to 0.84)"),
        ([0.1 + 0.2, 0.3], "0.3 over 2 episodes (0.3 to 0.3)"),
        ([0.84, 0.8, 0.76], "0.800 over 3 episodes (0.76 to 0.84)"),
        ([500.0] * 3, "500 over 3 episodes (500 to 500)"),
        ([9.0, 500.0, 231.4], "246.8 over 3 episodes (9 to 500)"),
        ([-21.0, 0.0, -3.0], "-8.0 over 3 episodes (-21 to 0)"),
        ([-0.0003, -0.0006, -0.0004], "-0.00043 over 3 episodes (-0.0006 to -0.0003)"),
        ([-0.0, -0.0], "0 over 2 episodes (0 to 0)"),
        ([-0.0004, 0.3], "0.15 over 2 episodes (0 to 0.3)"),
        ([-1650.2, -140.7], "-895.5 over 2 episodes (-1650 to -141)"),
        ([90_000.0, 120_431.3], "105216 over 2 episodes (90000 to 120431)"),
        ([5.0], "5 over 1 episode (5 to 5)"),
    ],
)
def test_a_return_has_the_digits_that_its_spread_asks_for(returns: list[float], shown: str) -> None:
    """A grid world's 0.84 is not 0.8, and its range is not 1 to 1; CartPole's 500 needs no decimal."""
    assert show_returns(returns) == shown


@pytest.mark.parametrize(
    ("mean", "std", "shown"),
    [
        (125.25, 80.0, "125.2"),
        (0.84, 0.0, "0.84"),
        (-2.413, 1.2, "-2.4"),
        (-0.0001, 3.0, "0.0"),
        (7.0, 2e5, "7"),
        (0.8123, 0.02, "0.812"),
    ],
)
def test_a_mean_has_the_digits_that_its_spread_asks_for(mean: float, std: float, shown: str) -> None:
    """The second decimal of a mean says nothing if the episodes' returns lie 80 apart."""
    assert show_mean(mean, std) == shown


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.84, -1.2345, 0.84], ["0.84", "-1.23", "0.84"]),
        ([474.98, 22.34, 475.0], ["474.98", "22.34", "475"]),
        ([500.0, 22.34, 475.0], ["500", "22.3", "475"]),
        ([-5.12, -17.04], ["-5.12", "-17"]),
        ([0.0004, -0.0012], ["0.0004", "-0.0012"]),
    ],
)
def test_numbers_side_by_side_can_be_told_apart(values: list[float], shown: list[str]) -> None:
    """474.98 does not read as 475."""
    assert show_together(values) == shown


@pytest.mark.parametrize(
    ("mean", "interval", "episodes", "shown"),
    [
        (482.65, (455.12, 499.6), 20, "482.6 over 20 fresh episodes (95% interval 455 to 500)"),
        (-5.1234, (-5.3012, -4.9499), 2_000, "-5.12 over 2,000 fresh episodes (95% interval -5.3 to -4.95)"),
        (499.85, (499.5, 500.0), 20, "499.85 over 20 fresh episodes (95% interval 499.5 to 500)"),
        (500.0, (500.0, 500.0), 20, "500 in each of 20 fresh episodes"),
        (0.84, (0.84, 0.84 + 1e-12), 100, "0.84 in each of 100 fresh episodes"),
        (0.84, None, 1, "0.84 over 1 fresh episode"),
    ],
)
def test_an_estimate_has_its_interval_and_the_digits_that_it_justifies(
    mean: float, interval: tuple[float, float] | None, episodes: int, shown: str
) -> None:
    """Equal episodes have no interval: its width would be zero, which they do not justify."""
    assert show_estimate(mean, interval, episodes, "fresh") == shown


def test_the_outcome_of_episodes_is_written_by_its_spread(capsys: pytest.CaptureFixture[str]) -> None:
    """As `rlway play` and `rlway edge` print it."""
    print_played(PlayedEpisodes(0.84, [0.84] * 10, 50, 0.01, 5_000.0), "in process", as_json=False)
    assert capsys.readouterr().out == "in process: mean return 0.84 over 10 episodes (0.84 to 0.84), 5,000 actions/s\n"


@given(st.lists(RETURNS, min_size=1, max_size=5))
def test_different_numbers_read_differently_and_none_is_minus_zero(values: list[float]) -> None:
    """For any list of numbers."""
    shown = show_together(values)
    for i, one in enumerate(values):
        for other, text in zip(values, shown, strict=True):
            assert (one == other) == (shown[i] == text)
    for text in (*shown, *re.split("[ (]", show_returns(values)), show_mean(values[0], 1.0)):
        assert not re.fullmatch(r"-0(\.0*)?\)?", text)
