"""What holds for every client that nobody here wrote: the tests of this folder inherit them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from tests.foreign.oracle import InProcessPolicy
from tests.foreign.programs import Answers

Record = Callable[[str, object], None]
RANDOM_PENDULUM = -1176.0  # the mean return of uniformly random torques


class PlaysEverything:
    """The tests of one client library. `answers` is a fixture of its module, one for each transport."""

    errors: ClassVar[frozenset[str]]  # the names of the exceptions with which the library tells of a refusal

    def test_cartpole_is_balanced_over_ten_episodes(self, answers: Answers, record_property: Record) -> None:
        """The mean return is at least 475, and each action is the in-process policy's."""
        returns = answers.of("cartpole")["returns"]
        record_property("result", f"{np.mean(returns):.0f}")
        assert len(returns) == 10
        assert np.mean(returns) >= 475
        _check_actions(answers, "cartpole", "balancing")

    def test_each_torque_of_pendulum_is_the_in_process_policys(self, answers: Answers, record_property: Record) -> None:
        """Over ten episodes, to the bit; and the return is far above a random policy's."""
        returns = answers.of("pendulum")["returns"]
        record_property("result", f"{np.mean(returns):.0f}")
        assert len(returns) == 10
        assert answers.arrays("pendulum")["action"].shape == (2000, 1)
        assert np.mean(returns) > RANDOM_PENDULUM / 4
        _check_actions(answers, "pendulum", "swinging")

    def test_64_interleaved_episodes_do_not_mix(self, answers: Answers, record_property: Record) -> None:
        """Every action of the recurrent policy equals that of an episode of its own in this process."""
        record_property("result", f"{check_episodes(answers)} steps equal")

    def test_pictures_arrive_as_they_are(self, answers: Answers, record_property: Record) -> None:
        """uint8[16, 16, 3], alone and eight in a request."""
        record_property("result", f"{_check_actions(answers, 'pictures', 'picture')} equal")

    def test_an_observation_of_two_parts_arrives_whole(self, answers: Answers, record_property: Record) -> None:
        """Each part by its name, alone and eight in a request."""
        record_property("result", f"{_check_actions(answers, 'robot', 'robot')} equal")

    def test_a_refusal_is_the_librarys_own_exception(self, answers: Answers, record_property: Record) -> None:
        """With a sentence of the server's, and the same client goes on."""
        errors: dict[str, Any] = answers.of("refused")["errors"]
        for what, (kind, text) in errors.items():
            assert kind in self.errors, f"{what}: {kind}: {text}"
        self.check_sentences({what: text for what, (_, text) in errors.items()})
        record_property("result", "4 refused")

    def check_sentences(self, sentences: dict[str, str]) -> None:
        """The texts of the exceptions, by what was wrong."""
        assert "observation" in sentences["shape"]
        assert "observation" in sentences["name"]
        assert "observation" in sentences["nan"]
        assert "nobody" in sentences["policy"]
        assert not any("Traceback" in sentence for sentence in sentences.values())


def check_episodes(answers: Answers) -> int:
    """How many steps of the recurrent policy were equal, which are all."""
    recorded = answers.arrays("episodes")
    policy = InProcessPolicy(answers.models, "summing")
    assert len(recorded["lengths"]) == 64
    for observations, actions, length in zip(
        recorded["observation"], recorded["action"], recorded["lengths"], strict=True
    ):
        assert actions[:length].tolist() == policy.walk(observations[:length]).tolist()
    return int(recorded["lengths"].sum())


def _check_actions(answers: Answers, task: str, policy: str) -> int:
    """How many actions were equal, which are all; not all are the same."""
    recorded = answers.arrays(task)
    actions = recorded.pop("action")
    expected = InProcessPolicy(answers.models, policy).act(recorded)
    # JSON holds the shortest digits that mean this float32.
    np.testing.assert_array_equal(actions.astype(expected.dtype).reshape(expected.shape), expected)
    assert len(np.unique(expected)) > 1
    return len(expected)
