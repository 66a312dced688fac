"""MinAtar's games behind gymnasium's interface.

In:      an id such as MinAtar/Breakout-v1. Version 0 takes all six actions, version 1 those that do something.
Out:     gymnasium's EnvSpec; the environment observes bool[10, 10, channels].
Refuses: minatar not installed (UsageError), an id that is none of its games (EnvironmentFault).

minatar has such environments itself. In these, everything random follows from the seed of `reset`, an episode does not
begin with the last action of the one before, and pictures are large enough to see.
"""

from __future__ import annotations

import logging
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete

from rlway_client.common.packages import TRAINING, missing
from rlway_client.common.suggest import near
from rlway_client.contract.errors import EnvironmentFault, UsageError
from rlway_client.contract.specs import AnyArray

NAMESPACE = "MinAtar/"
GAMES = {
    f"{NAMESPACE}{game.title().replace('_', '')}-v{version}": (game, version == 1)
    for game in ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
    for version in (0, 1)
}
CELL = 32  # pixels of a cell's side in a film
BACKGROUND = (17, 24, 39)
COLOURS = [  # of the channels, in their order
    (96, 165, 250), (250, 204, 21), (120, 113, 108), (248, 113, 113), (52, 211, 153),
    (192, 132, 252), (251, 146, 60), (244, 114, 182), (163, 230, 53), (45, 212, 191),
]  # fmt: skip


def minatar_spec(name: str) -> EnvSpec:
    """The game of this id, as `gymnasium.make` takes it."""
    if name not in GAMES:
        alike = near(name, GAMES) or list(GAMES)[1::2]
        raise EnvironmentFault(f"there is no environment {name!r}; did you mean {' or '.join(alike)}?")
    _import_quietly()
    return EnvSpec(id=name, entry_point=partial(MinAtar, *GAMES[name]))


def _import_quietly() -> Any:
    """The module minatar. Without a display's packages, it warns that it cannot draw; it is not asked to."""
    kept = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return import_module("minatar")
    except ModuleNotFoundError as error:
        package = f"MinAtar (module {error.name})"
        raise UsageError(missing("this environment", package, "rlway-client[minatar]", TRAINING)) from error
    finally:
        logging.disable(kept)


class MinAtar(gymnasium.Env[AnyArray, Any]):
    """One of the games."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  # as gymnasium has it

    def __init__(self, game: str, minimal_actions: bool, render_mode: str | None = None) -> None:
        self._game = _import_quietly().Environment(env_name=game)
        actions = self._game.minimal_action_set() if minimal_actions else range(self._game.num_actions())
        self._actions = list(actions)
        self.render_mode = render_mode
        bits: Any = np.bool_  # gymnasium's types name floats and integers only
        self.observation_space = Box(0, 1, tuple(self._game.state_shape()), bits)
        self.action_space = Discrete(len(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[AnyArray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        # The game draws from one of numpy's older generators.
        self._game.seed(int(self.np_random.integers(1 << 32)))
        self._game.last_action = 0
        self._game.reset()
        return self._game.state(), {}

    def step(self, action: Any) -> tuple[AnyArray, float, bool, bool, dict[str, Any]]:
        reward, terminated = self._game.act(self._actions[int(action)])
        return self._game.state(), float(reward), bool(terminated), False, {}

    def render(self) -> AnyArray:  # -> uint8[320, 320, 3]
        state = self._game.state()
        picture = np.full((*state.shape[:2], 3), BACKGROUND, np.uint8)
        for channel in range(state.shape[2]):
            picture[state[..., channel]] = COLOURS[channel % len(COLOURS)]
        return picture.repeat(CELL, axis=0).repeat(CELL, axis=1)
