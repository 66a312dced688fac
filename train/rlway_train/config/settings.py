"""The settings of a training: their names, types, defaults and help texts.

In:      values by name; those that are not given have their default.
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

    steps: Annotated[int, Flag("Environment steps in total, over all parallel environments.", TRAINING)] = 100_000
    episodes: Annotated[int | None, Flag("End after at most so many training episodes.", TRAINING)] = None
    time_limit: Annotated[
        int | None, Flag("Steps per episode, in place of the environment's own limit.", TRAINING, fixed=True)
    ] = None
    envs: Annotated[int, Flag("Parallel environments.", TRAINING)] = 8
    block_steps: Annotated[int, Flag("Environment steps between two blocks of updates.", TRAINING)] = 64
    block_iterations: Annotated[int, Flag("Gradient updates per block, all in one TensorFlow call.", TRAINING)] = 64
    collect_process: Annotated[
        bool, Flag("Step the environments in a process of their own, in parallel with the updates.", TRAINING)
    ] = False
    initial_steps: Annotated[int, Flag("Random steps before the first update.", TRAINING)] = 1_000
    xla: Annotated[bool, Flag("With --replay tf: compile the updates with XLA.", TRAINING)] = True
    op_threads: Annotated[
        int, Flag("Threads within one TensorFlow operation, while others may run beside it; 0: one per core.", TRAINING)
    ] = 0
    deterministic: Annotated[
        bool, Flag("Slower: the same seed gives the same weights, bit for bit, on the same machine.", TRAINING)
    ] = False
    strategy: Annotated[
        Strategy, Flag("none; or mirrored, with --replay reverb: spread each batch over all GPUs.", TRAINING)
    ] = "none"
    replay: Annotated[
        Replay, Flag("tf, within TensorFlow's graph; or reverb, a Reverb server.", REPLAYING, fixed=True)
    ] = "tf"
    replay_capacity: Annotated[int, Flag("Transitions kept; new ones replace the oldest.", REPLAYING)] = 100_000
    selector: Annotated[Selector, Flag("How Reverb samples transitions: uniform or prioritized.", REPLAYING)] = (
        "uniform"
    )
    limiter: Annotated[
        Limiter,
        Flag(
            "ratio: sampling and inserting wait for each other; min-size: neither waits after the initial steps.",
            REPLAYING,
        ),
    ] = "ratio"
    hidden: Annotated[tuple[int, ...], Flag("Hidden layer sizes, such as 256,256.", NETWORK, fixed=True)] = (128, 128)
    normalize: Annotated[
        bool,
        Flag("Normalise observations by their running mean and spread, as a part of the policy.", NETWORK, fixed=True),
    ] = False
    gamma: Annotated[float, Flag("Discount per step.", NETWORK, fixed=True)] = 0.99
    learning_rate: Annotated[float, Flag("The optimizer's rate.", NETWORK)] = 1e-3
    learning_rate_end: Annotated[
        float | None, Flag("Rate at the end, approached linearly; the rate is constant if not given.", NETWORK)
    ] = None
    learning_rate_steps: Annotated[
        int | None,
        Flag("Steps over which it falls from --learning-rate to --learning-rate-end; all steps if not given.", NETWORK),
    ] = None
    gradient_clip: Annotated[
        float | None, Flag("Clip gradients to at most this norm, over all variables.", NETWORK)
    ] = 10.0
    batch_size: Annotated[int, Flag("Transitions per update.", NETWORK)] = 64
    target_period: Annotated[int, Flag("Iterations between target updates.", NETWORK)] = 128
    target_tau: Annotated[
        float, Flag("Share by which an update moves the target network towards the network; 1 copies it.", NETWORK)
    ] = 1.0
    average_window: Annotated[
        int,
        Flag(
            "Evaluate and keep the moving average of the weights over about so many iterations; 0: the weights "
            "themselves.",
            NETWORK,
            fixed=True,
        ),
    ] = 0
    eval_every: Annotated[int, Flag("Steps between evaluations.", EVALUATING)] = 2_000
    eval_episodes: Annotated[int, Flag("Episodes per evaluation.", EVALUATING)] = 20
    confirm_episodes: Annotated[
        int, Flag("Further episodes to confirm an evaluation that would be the best so far.", EVALUATING)
    ] = 40
    final_episodes: Annotated[
        int, Flag("Episodes that evaluate the best checkpoint at the end, with new seeds.", EVALUATING)
    ] = 20
    stop_return: Annotated[float | None, Flag("End once a confirmed mean return reaches this value.", EVALUATING)] = (
        None
    )
    log_every: Annotated[
        int, Flag("Updates between two points of the loss and the speed in TensorBoard.", EVALUATING)
    ] = 200
    run_stats: Annotated[
        bool,
        Flag(
            "Keep every training episode's return in episodes.csv; count episodes, resets, steps in TensorBoard.",
            EVALUATING,
        ),
    ] = False
    films: Annotated[bool, Flag("Film the trained policy and a random one at the end.", EVALUATING)] = True
    save_every: Annotated[int | None, Flag("Keep a checkpoint every so many steps, besides the best.", EVALUATING)] = (
        None
    )


class DqnSettings(TrainingSettings, frozen=True, kw_only=True):
    """The hyperparameters of DQN."""

    algorithm: ClassVar[str] = "dqn"

    discretize: Annotated[
        int | None, Flag("Replace a continuous action of one dimension by N values of it.", TRAINING, fixed=True)
    ] = None
    conv: Annotated[
        str | None,
        Flag(
            "Learn images of uint8 or bool, by convolutions before the hidden layers: 32x8x4,64x4x2 are filters, size "
            "and stride of two; without a list, layers that suit the image's size.",
            NETWORK,
            fixed=True,
        ),
    ] = None
    frame_stack: Annotated[
        int, Flag("Observe the last N frames together, as channels of one image.", TRAINING, fixed=True)
    ] = 1
    online: Annotated[bool, Flag("Use no replay: learn from each step once, in order.", TRAINING, fixed=True)] = False
    lstm: Annotated[
        int,
        Flag(
            "Cells of an LSTM after the hidden layers, which gives the policy a state; 0: no LSTM.", NETWORK, fixed=True
        ),
    ] = 0
    sequence_length: Annotated[int, Flag("With --lstm: steps of each sequence in a batch.", NETWORK, fixed=True)] = 16
    burn_in: Annotated[
        int, Flag("With --lstm: how many first steps of a sequence only warm up the LSTM's state.", NETWORK)
    ] = 4
    differences: Annotated[
        bool,
        Flag("With --lstm: also observe by how much each number changed since the step before.", NETWORK, fixed=True),
    ] = False
    priority_exponent: Annotated[
        float, Flag("With --selector prioritized: power of the TD error by which transitions are sampled.", REPLAYING)
    ] = 0.6
    importance_exponent: Annotated[
        float,
        Flag("With --selector prioritized: how far the loss's weights correct the sampling bias; 1: fully.", REPLAYING),
    ] = 0.4
    double: Annotated[bool, Flag("Double DQN.", NETWORK)] = True
    loss: Annotated[Loss, Flag("huber or squared.", NETWORK)] = "huber"
    reward_scale: Annotated[
        float, Flag("Factor on rewards, only in the loss: Q-values have this factor, too.", NETWORK, fixed=True)
    ] = 1.0
    clip_targets: Annotated[
        bool,
        Flag(
            "Keep the targets of Q-values within the range of returns that the rewards so far allow.",
            NETWORK,
            fixed=True,
        ),
    ] = False
    n_step: Annotated[
        int, Flag("Steps whose rewards are summed before the target bootstraps from a Q-value.", NETWORK, fixed=True)
    ] = 1
    optimizer: Annotated[Optimizer, Flag("adam or sgd.", NETWORK, fixed=True)] = "adam"
    target_episodes: Annotated[
        int | None, Flag("Training episodes between target updates, in place of --target-period.", NETWORK)
    ] = None
    epsilon_start: Annotated[float, Flag("Probability of a random action at the start.", EXPLORING)] = 1.0
    epsilon_end: Annotated[float, Flag("Probability of a random action at the end.", EXPLORING)] = 0.05
    epsilon_steps: Annotated[
        int, Flag("Steps over which it falls from --epsilon-start to --epsilon-end.", EXPLORING)
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
    gradient_clip: Annotated[float | None, Flag("Clip gradients to at most this norm.", NETWORK)] = None
    batch_size: Annotated[int, Flag("Transitions per update.", NETWORK)] = 256
    target_period: Annotated[int, Flag("Iterations between target updates.", NETWORK)] = 1
    target_tau: Annotated[
        float, Flag("Share by which an update moves the target critics towards the critics.", NETWORK)
    ] = 0.005
    reward_scale: Annotated[float, Flag("Factor on rewards, only in the losses.", NETWORK)] = 1.0
    initial_alpha: Annotated[
        float, Flag("Temperature at the start, the weight of entropy in the loss; SAC adjusts it.", EXPLORING)
    ] = 1.0
    target_entropy: Annotated[
        float | None,
        Flag(
            "Entropy at which SAC aims with the temperature; minus half the action's dimensions if not given.",
            EXPLORING,
        ),
    ] = None
    xla: Annotated[bool, Flag("With --replay tf: compile the updates with XLA.", TRAINING)] = False
    # Actor, critics and their targets are five small networks. One core for each is faster than all cores sharing every
    # matrix product.
    op_threads: Annotated[
        int, Flag("Threads within one TensorFlow operation, while others may run beside it; 0: one per core.", TRAINING)
    ] = 1


ALGORITHMS: dict[str, type[TrainingSettings]] = {kind.algorithm: kind for kind in (DqnSettings, SacSettings)}


def fixed_settings(kind: type[TrainingSettings]) -> list[str]:
    """The names of the settings that a resumed training cannot change."""
    hints = get_type_hints(kind, include_extras=True)
    return [name for name in kind.__struct_fields__ if get_args(hints[name])[1].fixed]
