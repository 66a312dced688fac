"""Which known names somebody may have meant."""

from __future__ import annotations

from rlway_client.common.suggest import near

KNOWN = ["CartPole-v0", "CartPole-v1", "MountainCar-v0", "Pendulum-v1", "Acrobot-v1", "CartPole-v2"]


def test_near_names_come_as_they_are_written_whatever_the_case() -> None:
    """The most similar name is first, and there are at most three."""
    assert near("cartpol-V1", KNOWN)[0] == "CartPole-v1"
    assert len(near("cartpole-v9", KNOWN)) == 3


def test_a_name_like_no_other_has_none_near_it() -> None:
    """Names that are not similar are not suggested."""
    assert near("Blackjack", KNOWN) == []
