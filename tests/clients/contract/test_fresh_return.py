"""What fresh episodes gave a policy, as a manifest or a run says it."""

from __future__ import annotations

from typing import Any

import pytest

from rlway_client.contract.fresh_return import FreshReturn

FOUND: dict[str, Any] = {"final_return": 469.06, "final_interval": [431.2, 495.3], "final_episodes": 20}


@pytest.mark.parametrize(
    ("training", "sentence"),
    [
        (
            FOUND | {"chosen_among": 27, "seed": 1},
            "469.1 over 20 fresh episodes (95% interval 431 to 495), by the best of 27 checkpoints",
        ),
        (FOUND, "469.1 over 20 fresh episodes (95% interval 431 to 495)"),
        (FOUND | {"final_return": 500, "final_interval": [500, 500]}, "500 in each of 20 fresh episodes"),
        ({"final_return": 469.06, "final_episodes": 20}, "469.1 over 20 fresh episodes"),  # of an older run
        ({"final_return": 3.0, "final_interval": None, "final_episodes": 1}, "3 over 1 fresh episode"),
    ],
)
def test_it_is_one_sentence(training: dict[str, Any], sentence: str) -> None:
    """The mean has the digits that its interval justifies; an interval without width is not shown as one."""
    fresh = FreshReturn.of(training)
    assert fresh is not None
    assert fresh.sentence == sentence


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"final_return": None, "final_episodes": None},
        FOUND | {"final_return": "500"},
        FOUND | {"final_interval": [1, 2, 3]},
        FOUND | {"final_interval": [500, 499]},
        FOUND | {"final_interval": "[bold]"},
        FOUND | {"final_episodes": 0},
        FOUND | {"chosen_among": -1},
    ],
)
def test_a_manifest_that_says_something_else_says_nothing(training: dict[str, Any]) -> None:
    """Its `training` is any JSON: what is shown of it has the expected types."""
    assert FreshReturn.of(training) is None


def test_equal_episodes_bound_the_share_of_others() -> None:
    """If 14% of all episodes returned something else, 20 would show none of them in 5% of the cases."""
    fresh = FreshReturn(final_return=500.0, final_interval=(500.0, 500.0), final_episodes=20)
    assert fresh.most_others is not None
    assert (1 - fresh.most_others) ** 20 == pytest.approx(0.05)
    assert fresh.most_others == pytest.approx(0.139, abs=0.001)
    rounded = FreshReturn(final_return=0.8, final_interval=(0.7999999999999999, 0.8), final_episodes=20)
    assert rounded.most_others == fresh.most_others
    assert FreshReturn(final_return=499.0, final_interval=(497.0, 500.0), final_episodes=20).most_others is None
    assert FreshReturn(final_return=499.0, final_episodes=20).most_others is None
