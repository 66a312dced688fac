"""Atari's games of the Arcade Learning Environment, with its usual preprocessing.

In:      an id such as ALE/Breakout-v5, which ale_py registers in gymnasium.
Out:     gymnasium's EnvSpec; the environment observes uint8[84, 84, 1].
Refuses: ale-py or opencv not installed (UsageError), an id that ale_py does not register (EnvironmentFault).

The preprocessing is gymnasium's AtariPreprocessing, after Machado et al., "Revisiting the Arcade Learning Environment",
2018: grey pictures of 84 × 84, the brighter one of the last two frames, each action for four frames, up to 30 frames
without an action at the beginning. Several pictures together are --frame-stack.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import AtariPreprocessing

from rlway_client.common.packages import TRAINING, missing
from rlway_client.common.suggest import near
from rlway_client.contract.errors import EnvironmentFault, UsageError

NAMESPACE = "ALE/"
FRAMES_PER_S, FRAME_SKIP = 60, 4


def atari_spec(name: str) -> EnvSpec:
    """The game of this id, as `gymnasium.make` takes it."""
    try:
        ale = import_module("ale_py")
        import_module("cv2")
    except ModuleNotFoundError as error:
        package = f"ALE (module {error.name})"
        raise UsageError(missing("this environment", package, "rlway-client[atari]", TRAINING)) from error
    ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)
    known = [one for one in gymnasium.registry if one.startswith(NAMESPACE)]
    if name not in known:
        alike = near(name, known) or [f"{NAMESPACE}Breakout-v5"]
        raise EnvironmentFault(f"there is no environment {name!r}; did you mean {' or '.join(alike)}?")
    return EnvSpec(id=name, entry_point=Atari(name), reward_threshold=gymnasium.spec(name).reward_threshold)


class Atari:
    """Makes the game with its preprocessing."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_S // FRAME_SKIP}

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, **options: Any) -> gymnasium.Env[Any, Any]:
        game = gymnasium.make(self._name, frameskip=1, disable_env_checker=True, **options)
        env = AtariPreprocessing(game, frame_skip=FRAME_SKIP, grayscale_newaxis=True)
        env.metadata = self.metadata
        return env
