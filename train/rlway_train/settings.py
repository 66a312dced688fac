"""What can be set of a training.

In:      a preset's values, and the flags that override them.
Out:     `DqnSettings` or `SacSettings`, checked.
Refuses: UsageError for a value that makes no sense, naming its flag.

Steps are environment steps, summed over parallel environments; iterations are gradient updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec

from rlway_client.errors import UsageError

Loss = Literal["huber", "squared"]
Optimizer = Literal["adam", "sgd"]
Chosen = TypeVar("Chosen", bound="Settings")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The hyperparameters that every algorithm has, and how its training is watched."""

    steps: int = 100_000
    episodes: int | None = None  # training ends after so many, should the steps not end first
    hidden: tuple[int, ...] = (128, 128)
    gamma: float = 0.99
    learning_rate: float = 1e-3
    learning_rate_end: float | None = None  # reached at `steps`; None keeps the rate constant
    gradient_clip: float | None = 10.0  # global norm; None does not clip
    batch_size: int = 64
    target_period: int = 128  # iterations
    target_tau: float = 1.0  # 1 copies the network
    replay_capacity: int = 100_000
    initial_steps: int = 1_000  # at random, before the first update
    envs: int = 8
    block_steps: int = 64  # environment steps between two blocks of updates
    block_iterations: int = 64  # updates a block, all in one TensorFlow call
    eval_every: int = 2_000  # steps
    eval_episodes: int = 20
    confirm_episodes: int = 40  # more episodes for an evaluation that would be the best so far
    final_episodes: int = 20
    stop_return: float | None = None  # training ends once a confirmed evaluation reaches it
    save_every: int | None = None  # steps; None saves only what evaluates best, and the end
    time_limit: int | None = None  # steps an episode, in place of the environment's own limit
    xla: bool = True


class DqnSettings(Settings, frozen=True, kw_only=True):
    """The hyperparameters of DQN."""

    double: bool = True
    loss: Loss = "huber"
    n_step: int = 1  # rewards summed before the successor's value takes over
    optimizer: Optimizer = "adam"
    target_episodes: int | None = None  # training episodes between target copies, in place of iterations
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_steps: int = 10_000
    online: bool = False  # no replay: each block's steps are learnt from once, in order
    lstm: int | None = None  # cells of an LSTM behind the hidden layers: the policy then remembers
    sequence_length: int = 16  # with `lstm`: steps that an item of replay holds
    burn_in: int = 4  # the first of them fill the memory, and are not learnt from
    discretize: int | None = None  # into so many actions, for a continuous action of one dimension


class SacSettings(Settings, frozen=True, kw_only=True):
    """The hyperparameters of SAC; where they differ from DQN's, they are those of TF-Agents' tutorial."""

    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 3e-4  # of actor, critics and temperature
    gradient_clip: float | None = None
    batch_size: int = 256
    target_period: int = 1
    target_tau: float = 0.005
    initial_alpha: float = 1.0  # the temperature: how much entropy is worth
    target_entropy: float | None = None  # None is −action_dim / 2
    reward_scale: float = 1.0
    xla: bool = False


def override(settings: Chosen, given: dict[str, Any]) -> Chosen:
    """The settings with the given values in place of their own, checked."""
    return check(msgspec.structs.replace(settings, **given))


def parse_hidden(text: str) -> tuple[int, ...]:
    """`256,256` as sizes."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise UsageError(f"--hidden: expected layer sizes such as 256,256, got {text!r}") from None


def check(settings: Chosen) -> Chosen:
    """The settings themselves, or a UsageError for the first value that makes no sense."""
    for names, holds, expected in _CHECKS:
        for name in names.split():
            value = getattr(settings, name, None)  # not every algorithm has every setting
            if value is not None and not holds(value):
                raise UsageError(f"--{name.replace('_', '-')}: expected {expected}, got {_shown(value)}")
    if settings.steps <= settings.initial_steps:
        raise UsageError(f"--steps: expected more than the initial {settings.initial_steps}, got {settings.steps}")
    online = isinstance(settings, DqnSettings) and settings.online
    if online and settings.block_steps != settings.block_iterations * settings.batch_size:
        raise UsageError(
            f"--online: expected --block-steps to be --block-iterations times --batch-size, got {settings.block_steps} "
            f"and {settings.block_iterations} times {settings.batch_size}; 1, 1 and 1 update after every step."
        )
    if settings.replay_capacity < max(settings.block_steps, settings.batch_size):
        raise UsageError(
            f"--replay-capacity: expected at least a batch ({settings.batch_size}) and a block "
            f"({settings.block_steps} steps), got {settings.replay_capacity}"
        )
    return settings


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


# A NaN fails every comparison, and so every check.
_CHECKS: list[tuple[str, Callable[[Any], bool], str]] = [
    (
        "steps episodes n_step batch_size target_period target_episodes replay_capacity time_limit envs "
        "block_steps block_iterations eval_every lstm "
        "eval_episodes final_episodes save_every",
        lambda n: n >= 1,
        "a whole number of at least 1",
    ),
    ("initial_steps confirm_episodes epsilon_steps burn_in", lambda n: n >= 0, "a whole number of at least 0"),
    ("discretize", lambda n: n >= 2, "at least 2 actions"),
    ("hidden", lambda sizes: len(sizes) > 0 and all(n >= 1 for n in sizes), "positive layer sizes such as 256,256"),
    ("gamma epsilon_start epsilon_end", lambda x: 0 <= x <= 1, "a number between 0 and 1"),
    ("target_tau", lambda x: 0 < x <= 1, "a number above 0, at most 1"),
    (
        "learning_rate learning_rate_end gradient_clip initial_alpha reward_scale",
        lambda x: 0 < x < math.inf,
        "a positive number",
    ),
    ("stop_return target_entropy", math.isfinite, "a finite number"),
    ("optimizer", lambda name: name in ("adam", "sgd"), "adam or sgd"),
    ("loss", lambda name: name in ("huber", "squared"), "huber or squared"),
]
