"""The settings of a training: their names, types, usual values and help texts.

In:      values by name; those that are not given have their usual value.
Out:     `DqnSettings` or `SacSettings`. rlway_train.config.validation checks the values.

Steps are environment steps, summed over parallel environments. Iterations are gradient updates.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import msgspec

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
    """The help text of a setting's flag, and the heading it stands under."""

    help: str
    panel: str
    fixed: bool = False  # a resumed training cannot change it: weights, optimizer or stored rows depend on it


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that every algorithm has. Each is a flag of the command."""

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
    """The hyperparameters of SAC. Those that differ from DQN's are those of TF-Agents' SAC tutorial."""

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
    # Actor, critics and their targets are five small networks. One core for each is faster than all cores sharing every
    # matrix product.
    op_threads: Annotated[
        int, Flag("Threads within one TensorFlow operation; independent ones run at once; 0 is one per core.", TRAINING)
    ] = 1


ALGORITHMS: dict[str, type[TrainingSettings]] = {kind.algorithm: kind for kind in (DqnSettings, SacSettings)}


def fixed_settings(kind: type[TrainingSettings]) -> list[str]:
    """The names of the settings that a resumed training cannot change."""
    hints = get_type_hints(kind, include_extras=True)
    return [name for name in kind.__struct_fields__ if get_args(hints[name])[1].fixed]
