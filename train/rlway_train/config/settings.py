"""What can be set of a training.

In:      a preset's values, and the flags that override them.
Out:     `DqnSettings` or `SacSettings`, checked.
Refuses: UsageError for a value that makes no sense, naming its flag.

Steps are environment steps, summed over parallel environments; iterations are gradient updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import msgspec

from rlway_client.contract.errors import UsageError

Loss = Literal["huber", "squared"]
Optimizer = Literal["adam", "sgd"]
Replay = Literal["tf", "reverb"]
Selector = Literal["uniform", "prioritized"]
Limiter = Literal["min-size", "ratio"]
Strategy = Literal["none", "mirrored"]
Chosen = TypeVar("Chosen", bound="TrainingSettings")

TRAINING, REPLAYING, NETWORK = "Training", "Replay", "Network and loss"
EXPLORING, EVALUATING = "Exploring", "Evaluating and saving"


class Flag(NamedTuple):
    """How a setting is explained on the command line, and under which heading."""

    help: str
    panel: str
    fixed: bool = False  # weights, optimizer or stored transitions depend on it: a resumed training keeps its own


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The hyperparameters that every algorithm has, and how its training is watched. Each is a flag of the command."""

    algorithm: ClassVar[str]

    steps: Annotated[int, Flag("Environment steps in all, over parallel environments.", TRAINING)] = 100_000
    episodes: Annotated[int | None, Flag("End after so many training episodes at the latest.", TRAINING)] = None
    time_limit: Annotated[
        int | None, Flag("Steps per episode, in place of the environment's own limit.", TRAINING, fixed=True)
    ] = None
    envs: Annotated[int, Flag("Parallel environments.", TRAINING)] = 8
    block_steps: Annotated[int, Flag("Environment steps between two blocks of updates.", TRAINING)] = 64
    block_iterations: Annotated[int, Flag("Gradient updates per block, all in one TensorFlow call.", TRAINING)] = 64
    collect_process: Annotated[
        bool, Flag("Step the environments in a process of their own, beside the learner.", TRAINING)
    ] = False
    initial_steps: Annotated[int, Flag("Random steps before the first update.", TRAINING)] = 1_000
    xla: Annotated[bool, Flag("Compile the updates; with --replay tf.", TRAINING)] = True
    op_threads: Annotated[
        int, Flag("Threads within one TensorFlow operation; independent ones run at once; 0 is one per core.", TRAINING)
    ] = 0
    deterministic: Annotated[
        bool, Flag("The same seed gives the same weights, bit for bit, on the same machine; slower.", TRAINING)
    ] = False
    strategy: Annotated[
        Strategy, Flag("none or mirrored: spread each batch over all GPUs; with --replay reverb.", TRAINING)
    ] = "none"
    replay: Annotated[
        Replay, Flag("tf, within TensorFlow's graph; or reverb, a Reverb server.", REPLAYING, fixed=True)
    ] = "tf"
    replay_capacity: Annotated[int, Flag("Transitions kept; new ones replace the oldest.", REPLAYING)] = 100_000
    selector: Annotated[Selector, Flag("How Reverb draws transitions: uniform or prioritized.", REPLAYING)] = "uniform"
    limiter: Annotated[
        Limiter,
        Flag(
            "ratio: Reverb lets draw and write in step; min-size: as fast as each can, after the initial steps.",
            REPLAYING,
        ),
    ] = "ratio"
    hidden: Annotated[tuple[int, ...], Flag("Hidden layer sizes, such as 256,256.", NETWORK, fixed=True)] = (128, 128)
    normalize: Annotated[
        bool, Flag("Normalise observations by their running mean and spread, within the policy.", NETWORK, fixed=True)
    ] = False
    gamma: Annotated[float, Flag("Discount per step.", NETWORK, fixed=True)] = 0.99
    learning_rate: Annotated[float, Flag("The optimizer's rate.", NETWORK)] = 1e-3
    learning_rate_end: Annotated[
        float | None, Flag("Reached linearly at the last step; the rate is constant if not given.", NETWORK)
    ] = None
    gradient_clip: Annotated[float | None, Flag("Largest gradient norm, over all variables.", NETWORK)] = 10.0
    batch_size: Annotated[int, Flag("Transitions per update.", NETWORK)] = 64
    target_period: Annotated[int, Flag("Iterations between target updates.", NETWORK)] = 128
    target_tau: Annotated[
        float, Flag("Share of the network that a target update takes over; 1 copies it.", NETWORK)
    ] = 1.0
    eval_every: Annotated[int, Flag("Steps between evaluations.", EVALUATING)] = 2_000
    eval_episodes: Annotated[int, Flag("Episodes per evaluation.", EVALUATING)] = 20
    confirm_episodes: Annotated[
        int, Flag("More of them for an evaluation that would be the best so far.", EVALUATING)
    ] = 40
    final_episodes: Annotated[int, Flag("Fresh episodes of the best checkpoint, in the end.", EVALUATING)] = 20
    stop_return: Annotated[float | None, Flag("End once a confirmed mean return reaches it.", EVALUATING)] = None
    log_every: Annotated[
        int, Flag("Updates between two values of the loss and the speed in TensorBoard.", EVALUATING)
    ] = 200
    run_stats: Annotated[
        bool,
        Flag(
            "Keep every training episode's return in episodes.csv; count episodes, resets, steps in TensorBoard.",
            EVALUATING,
        ),
    ] = False
    films: Annotated[bool, Flag("Film the trained and a random policy in the end.", EVALUATING)] = True
    save_every: Annotated[
        int | None, Flag("Keep a checkpoint of the policy after so many steps, besides the best.", EVALUATING)
    ] = None


class DqnSettings(TrainingSettings, frozen=True, kw_only=True):
    """The hyperparameters of DQN."""

    algorithm: ClassVar[str] = "dqn"

    discretize: Annotated[
        int | None, Flag("Offer N values of a continuous action, of one dimension.", TRAINING, fixed=True)
    ] = None
    online: Annotated[bool, Flag("No replay: learn from each step once, in order.", TRAINING, fixed=True)] = False
    lstm: Annotated[
        int,
        Flag("Cells of an LSTM behind the hidden layers; the policy then remembers. 0 is none.", NETWORK, fixed=True),
    ] = 0
    sequence_length: Annotated[
        int, Flag("With --lstm: steps of each sequence that it learns from.", NETWORK, fixed=True)
    ] = 16
    burn_in: Annotated[int, Flag("With --lstm: the first of these steps, which only fill its memory.", NETWORK)] = 4
    priority_exponent: Annotated[
        float, Flag("With a prioritized selector: power of the TD error by which transitions are drawn.", REPLAYING)
    ] = 0.6
    importance_exponent: Annotated[
        float, Flag("With a prioritized selector: how much of that the loss's weights undo; 1 is all.", REPLAYING)
    ] = 0.4
    double: Annotated[bool, Flag("Double DQN.", NETWORK)] = True
    loss: Annotated[Loss, Flag("huber or squared.", NETWORK)] = "huber"
    n_step: Annotated[int, Flag("Rewards summed before the successor's value takes over.", NETWORK, fixed=True)] = 1
    optimizer: Annotated[Optimizer, Flag("adam or sgd.", NETWORK, fixed=True)] = "adam"
    target_episodes: Annotated[
        int | None, Flag("Training episodes between target copies, in place of iterations.", NETWORK)
    ] = None
    epsilon_start: Annotated[float, Flag("Probability of a random action at first.", EXPLORING)] = 1.0
    epsilon_end: Annotated[float, Flag("Probability of a random action in the end.", EXPLORING)] = 0.05
    epsilon_steps: Annotated[
        int, Flag("Steps over which that probability falls from its first value to its last.", EXPLORING)
    ] = 10_000


class SacSettings(TrainingSettings, frozen=True, kw_only=True):
    """The hyperparameters of SAC; where they differ from DQN's, they are those of TF-Agents' tutorial."""

    algorithm: ClassVar[str] = "sac"

    hidden: Annotated[
        tuple[int, ...], Flag("Hidden layer sizes of actor and critics, such as 256,256.", NETWORK, fixed=True)
    ] = (
        256,
        256,
    )
    learning_rate: Annotated[float, Flag("Adam's rate, for actor, critics and temperature.", NETWORK)] = 3e-4
    gradient_clip: Annotated[float | None, Flag("Largest gradient norm.", NETWORK)] = None
    batch_size: Annotated[int, Flag("Transitions per update.", NETWORK)] = 256
    target_period: Annotated[int, Flag("Iterations between target updates.", NETWORK)] = 1
    target_tau: Annotated[float, Flag("Share of the critics that a target update takes over.", NETWORK)] = 0.005
    reward_scale: Annotated[float, Flag("Factor on rewards, in the losses only.", NETWORK)] = 1.0
    initial_alpha: Annotated[
        float, Flag("Temperature at first, which is what entropy is worth; SAC adjusts it.", EXPLORING)
    ] = 1.0
    target_entropy: Annotated[
        float | None,
        Flag("Entropy that the temperature adjusts to; minus half the action's dimensions if not given.", EXPLORING),
    ] = None
    xla: Annotated[bool, Flag("Compile the updates; with --replay tf.", TRAINING)] = False
    # Actor, critics and their targets are as many small networks: on a core each, they wait for each other less than
    # where all cores share every product.
    op_threads: Annotated[
        int, Flag("Threads within one TensorFlow operation; independent ones run at once; 0 is one per core.", TRAINING)
    ] = 1


ALGORITHMS: dict[str, type[TrainingSettings]] = {kind.algorithm: kind for kind in (DqnSettings, SacSettings)}


def fixed_settings(kind: type[TrainingSettings]) -> list[str]:
    """The names of those that a resumed training cannot change."""
    hints = get_type_hints(kind, include_extras=True)
    return [name for name in kind.__struct_fields__ if get_args(hints[name])[1].fixed]


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
                raise UsageError(f"--{name.replace('_', '-')}: expected {expected}, got {shown(value)}")
    if settings.steps <= settings.initial_steps:
        raise UsageError(f"--steps: expected more than the initial {settings.initial_steps}, got {settings.steps}")
    online = isinstance(settings, DqnSettings) and settings.online
    if online and settings.block_steps != settings.block_iterations * settings.batch_size:
        raise UsageError(
            f"--online: expected --block-steps to be --block-iterations times --batch-size, got {settings.block_steps} "
            f"and {settings.block_iterations} times {settings.batch_size}; 1, 1 and 1 update after every step."
        )
    if isinstance(settings, DqnSettings) and settings.lstm:
        _check_memory(settings)
    if settings.replay_capacity < max(settings.block_steps, settings.batch_size):
        raise UsageError(
            f"--replay-capacity: expected at least a batch ({settings.batch_size}) and a block "
            f"({settings.block_steps} steps), got {settings.replay_capacity}"
        )
    (_check_reverb if settings.replay == "reverb" else _check_in_graph)(settings)
    return settings


def _check_memory(settings: DqnSettings) -> None:
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
    """What only Reverb can do."""
    for flag, value, usual in (
        ("selector", settings.selector, "uniform"),
        ("limiter", settings.limiter, "ratio"),
        ("strategy", settings.strategy, "none"),
    ):
        if value != usual:
            raise UsageError(f"--{flag}: {value} needs a Reverb server, got --replay tf; add --replay reverb.")


def _check_reverb(settings: TrainingSettings) -> None:
    """What only the replay in the graph can do."""
    if isinstance(settings, DqnSettings) and settings.online:
        raise UsageError("--online: uses no replay, got --replay reverb; leave one of them out.")
    if settings.deterministic:
        raise UsageError("--deterministic: Reverb draws by seeds of its own; use --replay tf.")
    if settings.selector == "prioritized" and not isinstance(settings, DqnSettings):
        raise UsageError(
            "--selector: SAC has no TD error per transition to draw by; use uniform, or DQN (rlway train dqn)."
        )


def shown(value: Any) -> str:
    """A value as a flag would give it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


# A NaN fails every comparison, and so every check.
_CHECKS: list[tuple[str, Callable[[Any], bool], str]] = [
    (
        "steps episodes n_step batch_size target_period target_episodes replay_capacity time_limit envs "
        "block_steps block_iterations eval_every log_every sequence_length "
        "eval_episodes final_episodes save_every",
        lambda n: n >= 1,
        "a whole number of at least 1",
    ),
    (
        "initial_steps confirm_episodes epsilon_steps lstm burn_in op_threads",
        lambda n: n >= 0,
        "a whole number of at least 0",
    ),
    ("discretize", lambda n: n >= 2, "at least 2 actions"),
    ("hidden", lambda sizes: len(sizes) > 0 and all(n >= 1 for n in sizes), "positive layer sizes such as 256,256"),
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
