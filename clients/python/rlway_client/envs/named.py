"""Wraps an environment so that each of its failures is one sentence, which begins with the environment's name.

In:      an environment of gymnasium, and its name; actions.
Out:     observations as the environment gives them, rewards as floats, whether the episode has ended.
Refuses: anything that the environment raises, results that are not as gymnasium defines them, rewards that are not
         finite numbers, actions that the environment does not take (EnvironmentFault).
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import EnvironmentFault, RlwayError
from rlway_client.envs.action_fit import as_taken, misfit, shown
from rlway_client.envs.find import sentence

if TYPE_CHECKING:
    import gymnasium

ENDED = 128 + signal.SIGTERM  # the exit status of the command's handler of SIGTERM, which may run inside an environment


class NamedEnv:
    """One environment, with its name and a count of its steps for error messages."""

    def __init__(self, name: str, env: gymnasium.Env[Any, Any]) -> None:
        self.name = name
        self._env = env
        self._steps = 0
        try:
            self._actions: Any = env.action_space
        except Exception as error:
            raise EnvironmentFault(f"{name}: its action_space raised {told(error)}") from error

    def reset(self, seed: int) -> Any:
        """The first observation of an episode. Raises EnvironmentFault."""
        answer = self._call("reset()", lambda: self._env.reset(seed=seed))
        if not (isinstance(answer, tuple) and len(answer) == 2):
            self._refuse(f"reset(): expected (observation, info), got {shown(answer)}")
        return answer[0]

    def step(self, action: Any) -> tuple[Any, float, bool]:
        """The next observation, the reward, and whether the episode has ended. Raises EnvironmentFault."""
        self._steps += 1
        reason = self._call("action_space", lambda: misfit(action, self._actions))
        if reason is not None:
            self._refuse(f"its action_space is {clipped(self._actions)}, and the policy's action is {reason}")
        answer = self._call("step()", lambda: self._env.step(as_taken(action, self._actions)))
        if not (isinstance(answer, tuple) and len(answer) == 5):
            self._refuse(f"step(): expected (observation, reward, terminated, truncated, info), got {shown(answer)}")
        observation, reward, terminated, truncated, _ = answer
        return observation, self._number(reward), self._call("step()", lambda: bool(terminated or truncated))

    def close(self) -> None:
        """Closes the environment. Raises EnvironmentFault."""
        self._call("close()", self._env.close)

    def _number(self, reward: Any) -> float:
        value = self._call("reward", lambda: np.asarray(reward))
        if value.dtype.kind not in "biuf" or value.size != 1:
            self._refuse(f"reward: expected a number, got {shown(reward)}")
        number = float(value.item())
        if not math.isfinite(number):
            self._refuse(f"reward: expected a finite number, got {number}")
        return number

    def _call(self, what: str, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except (Exception, SystemExit) as error:  # anything that an environment raises is its own fault
            if isinstance(error, SystemExit) and error.code == ENDED:
                raise
            raise EnvironmentFault(f"{self.name}: its {what} raised {told(error)}{self._at}") from error

    def _refuse(self, fault: str) -> NoReturn:
        raise EnvironmentFault(f"{self.name}: {fault}{self._at}.")

    @property
    def _at(self) -> str:
        return f" at step {self._steps}" if self._steps else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            self.close()
        except EnvironmentFault:
            if error is None:  # otherwise the first error is the cause
                raise


def told(error: BaseException) -> str:
    """An exception on one line, short enough for a sentence."""
    try:
        return sentence(error) if isinstance(error, RlwayError) else clipped(sentence(error))
    except Exception:  # raised by the exception's own __str__
        return type(error).__name__
