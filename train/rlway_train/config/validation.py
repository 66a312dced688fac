"""Validation of settings.

In:      settings, and the values that were given in place of theirs.
Out:     the same settings with those values.
Refuses: UsageError for the first value that makes no sense, naming its flag.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from rlway_client.contract.errors import UsageError
from rlway_client.contract.specs import MOST_FRAMES
from rlway_train.config.convolutions import check_conv, for_images
from rlway_train.config.settings import Chosen, DqnSettings, TrainingSettings


def overridden(settings: Chosen, flags: dict[str, Any]) -> Chosen:
    """The settings with the values of the flags that were given, checked. A flag that is None was not given."""
    given = {name: value for name, value in flags.items() if name in settings.__struct_fields__ and value is not None}
    if isinstance(given.get("hidden"), str):
        given["hidden"] = _layer_sizes(given["hidden"])
    if "conv" in given and getattr(settings, "conv", None) is None:
        given = for_images(settings) | given
    return checked(msgspec.structs.replace(settings, **given))


def _layer_sizes(text: str) -> tuple[int, ...]:
    """`256,256` as numbers."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise UsageError(f"--hidden: expected layer sizes such as 256,256, got {text!r}") from None


def checked(settings: Chosen) -> Chosen:
    """The settings themselves, or a UsageError for the first value that makes no sense."""
    for names, holds, expected in _CHECKS:
        for name in names.split():
            value = getattr(settings, name, None)  # not every algorithm has every setting
            if value is not None and not holds(value):
                raise UsageError(f"--{name.replace('_', '-')}: expected {expected}, got {shown(value)}")
    if not settings.hidden and not (isinstance(settings, DqnSettings) and settings.conv):
        raise UsageError("--hidden: expected positive layer sizes such as 256,256, got none")
    if settings.steps <= settings.initial_steps:
        raise UsageError(f"--steps: expected more than the initial {settings.initial_steps}, got {settings.steps}")
    if isinstance(settings, DqnSettings) and settings.conv is not None:
        check_conv(settings)
    online = isinstance(settings, DqnSettings) and settings.online
    if online and settings.block_steps != settings.block_iterations * settings.batch_size:
        raise UsageError(
            f"--online: expected --block-steps to be --block-iterations times --batch-size, got {settings.block_steps} "
            f"and {settings.block_iterations} times {settings.batch_size}; 1, 1 and 1 update after every step."
        )
    if isinstance(settings, DqnSettings) and settings.lstm:
        _check_recurrent(settings)
    elif isinstance(settings, DqnSettings) and settings.differences:
        raise UsageError(
            "--differences: expected --lstm, whose state holds the last observation, got none; add --lstm N, or "
            "--no-differences."
        )
    if isinstance(settings, DqnSettings) and settings.clip_targets and settings.gamma >= 1:
        raise UsageError(
            f"--clip-targets: expected --gamma below 1, got {shown(settings.gamma)}; lower it, or leave --clip-targets "
            f"out, because a return without a discount has no bound."
        )
    if isinstance(settings, DqnSettings) and settings.clip_targets and settings.selector == "prioritized":
        raise UsageError(
            "--clip-targets: expected --selector uniform, got prioritized, which draws by TD errors that are not "
            "clipped; leave one out."
        )
    if settings.replay_capacity < max(settings.block_steps, settings.batch_size):
        raise UsageError(
            f"--replay-capacity: expected at least a batch ({settings.batch_size}) and a block "
            f"({settings.block_steps} steps), got {settings.replay_capacity}"
        )
    (_check_reverb if settings.replay == "reverb" else _check_in_graph)(settings)
    return settings


def _check_recurrent(settings: DqnSettings) -> None:
    if settings.online or settings.selector == "prioritized":
        flag = "online" if settings.online else "selector prioritized"
        raise UsageError(
            f"--{flag}: a policy with --lstm learns from sequences drawn evenly from replay; leave one out."
        )
    if settings.burn_in + settings.n_step > settings.sequence_length:
        raise UsageError(
            f"--sequence-length: expected at least --burn-in and --n-step together ({settings.burn_in} + "
            f"{settings.n_step}), got {settings.sequence_length}"
        )


def _check_in_graph(settings: TrainingSettings) -> None:
    """Refuses what only Reverb can do."""
    for flag, value, usual in (
        ("selector", settings.selector, "uniform"),
        ("limiter", settings.limiter, "ratio"),
        ("strategy", settings.strategy, "none"),
    ):
        if value != usual:
            raise UsageError(f"--{flag}: {value} needs a Reverb server, got --replay tf; add --replay reverb.")


def _check_reverb(settings: TrainingSettings) -> None:
    """Refuses what only the replay in the graph can do."""
    if isinstance(settings, DqnSettings) and settings.online:
        raise UsageError("--online: uses no replay, got --replay reverb; leave one of them out.")
    if settings.deterministic:
        raise UsageError("--deterministic: Reverb draws by seeds of its own; use --replay tf.")
    if settings.selector == "prioritized" and not isinstance(settings, DqnSettings):
        raise UsageError(
            "--selector: SAC has no TD error per transition to draw by; use uniform, or DQN (rlway train dqn)."
        )


def shown(value: Any) -> str:
    """A value as one would write it after its flag."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


# Names of settings, the condition on each, and what the refusal says was expected. NaN fails every comparison.
_CHECKS: list[tuple[str, Callable[[Any], bool], str]] = [
    (
        "steps episodes n_step batch_size target_period target_episodes replay_capacity time_limit envs "
        "block_steps block_iterations eval_every log_every sequence_length "
        "eval_episodes final_episodes save_every learning_rate_steps",
        lambda n: n >= 1,
        "a whole number of at least 1",
    ),
    (
        "initial_steps confirm_episodes epsilon_steps lstm burn_in op_threads average_window",
        lambda n: n >= 0,
        "a whole number of at least 0",
    ),
    ("discretize", lambda n: n >= 2, "at least 2 actions"),
    ("frame_stack", lambda n: 1 <= n <= MOST_FRAMES, f"a whole number from 1 to {MOST_FRAMES}"),
    ("hidden", lambda sizes: all(n >= 1 for n in sizes), "positive layer sizes such as 256,256"),
    (
        "gamma epsilon_start epsilon_end priority_exponent importance_exponent",
        lambda x: 0 <= x <= 1,
        "a number between 0 and 1",
    ),
    ("target_tau", lambda x: 0 < x <= 1, "a number above 0, at most 1"),
    (
        "learning_rate learning_rate_end gradient_clip initial_alpha reward_scale",
        lambda x: 0 < x < math.inf,
        "a positive number",
    ),
    ("stop_return target_entropy", math.isfinite, "a finite number"),
    ("optimizer", lambda name: name in ("adam", "sgd"), "adam or sgd"),
    ("loss", lambda name: name in ("huber", "squared"), "huber or squared"),
    ("replay", lambda name: name in ("tf", "reverb"), "tf or reverb"),
    ("selector", lambda name: name in ("uniform", "prioritized"), "uniform or prioritized"),
    ("limiter", lambda name: name in ("min-size", "ratio"), "min-size or ratio"),
    ("strategy", lambda name: name in ("none", "mirrored"), "none or mirrored"),
]
