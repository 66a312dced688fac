"""`rlway train`: the command line of training.

In:      a preset or an environment, and flags.
Out:     a run folder; what it achieved, in one line or as JSON.

TensorFlow takes seconds to import, so nothing here imports it before every flag has been checked.
"""

# The flags are read together, from typer's context:
# ruff: noqa: ARG001
from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from rlway_client.errors import RlwayError, UsageError
from rlway_train.presets import PRESETS, find_preset
from rlway_train.settings import Chosen, DqnSettings, SacSettings, Settings, override, parse_hidden

if TYPE_CHECKING:
    from rlway_train.environment import Domain
    from rlway_train.learner import Learner

train = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)
NEVER = "never"

_TRAINING, _NETWORK, _EXPLORING, _EVALUATING = "Training", "Network and loss", "Exploring", "Evaluating and saving"


@train.callback(invoke_without_command=True)
def _train(
    list_presets: Annotated[bool, typer.Option("--list-presets", help="Show the known-good settings by name.")] = False,
) -> None:
    """Trains a policy into a run folder."""
    if list_presets:
        names = [Column(name, no_wrap=True) for name in ("preset", "trained by", "environment", "steps")]
        table = Table(*names, "what it is", box=None, header_style="bold")
        for name, preset in PRESETS.items():
            table.add_row(name, preset.algorithm, preset.env, f"{preset.settings.steps:,}", preset.summary)
        Console().print(table)
        raise typer.Exit


def _flag(text: str, panel: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)


_ENV = Annotated[
    str | None, typer.Option(help="Gymnasium id, module:Class or path/to/file.py:Class; a preset names its own.")
]
_PRESET = Annotated[str | None, typer.Option(help="Known-good settings; `rlway train --list-presets` shows them.")]
_RUN = Annotated[Path | None, typer.Option(help="Folder to write; runs/PRESET-SEED or runs/ENV-SEED if not given.")]
_SEED = Annotated[int, typer.Option(min=0, help="Everything random follows from it.")]
_JSON = Annotated[bool, typer.Option("--json", help="Print run.json in the end.")]
_TIME_LIMIT = Annotated[int | None, _flag("Steps an episode, in place of the environment's own limit.", _TRAINING)]
_EPISODES = Annotated[int | None, _flag("End after so many training episodes at the latest.", _TRAINING)]


@train.command()
def dqn(
    context: typer.Context,
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = 0,
    as_json: _JSON = False,
    time_limit: _TIME_LIMIT = None,
    discretize: Annotated[
        int | None, _flag("Offer N values of a continuous action, of one dimension.", _TRAINING)
    ] = None,
    steps: Annotated[int | None, _flag("Environment steps in all, over parallel environments.", _TRAINING)] = None,
    episodes: _EPISODES = None,
    envs: Annotated[int | None, _flag("Parallel environments.", _TRAINING)] = None,
    block_steps: Annotated[int | None, _flag("Environment steps between two blocks of updates.", _TRAINING)] = None,
    block_iterations: Annotated[int | None, _flag("Gradient updates a block.", _TRAINING)] = None,
    initial_steps: Annotated[int | None, _flag("Random steps before the first update.", _TRAINING)] = None,
    replay_capacity: Annotated[int | None, _flag("Transitions kept.", _TRAINING)] = None,
    online: Annotated[
        bool | None, _flag("No replay: learn from each step once, in order.", _TRAINING, "--online/--no-online")
    ] = None,
    xla: Annotated[bool | None, _flag("Compile the updates.", _TRAINING, "--xla/--no-xla")] = None,
    hidden: Annotated[str | None, _flag("Hidden layer sizes, such as 256,256.", _NETWORK)] = None,
    lstm: Annotated[
        int | None, _flag("Cells of an LSTM behind the hidden layers; the policy then remembers.", _NETWORK)
    ] = None,
    sequence_length: Annotated[int | None, _flag("With --lstm: steps that it learns from at once.", _NETWORK)] = None,
    burn_in: Annotated[int | None, _flag("The first of them, which fill its memory only.", _NETWORK)] = None,
    double: Annotated[bool | None, _flag("Double DQN.", _NETWORK, "--double/--no-double")] = None,
    loss: Annotated[str | None, _flag("huber or squared.", _NETWORK)] = None,
    gamma: Annotated[float | None, _flag("Discount per step.", _NETWORK)] = None,
    n_step: Annotated[int | None, _flag("Rewards summed before the value takes over.", _NETWORK)] = None,
    learning_rate: Annotated[float | None, _flag("The optimizer's rate.", _NETWORK)] = None,
    optimizer: Annotated[str | None, _flag("adam or sgd.", _NETWORK)] = None,
    learning_rate_end: Annotated[float | None, _flag("Reached linearly at the last step.", _NETWORK)] = None,
    gradient_clip: Annotated[float | None, _flag("Largest gradient norm.", _NETWORK)] = None,
    batch_size: Annotated[int | None, _flag("Transitions an update.", _NETWORK)] = None,
    target_period: Annotated[int | None, _flag("Iterations between target updates.", _NETWORK)] = None,
    target_episodes: Annotated[
        int | None, _flag("Training episodes between target copies, in place of iterations.", _NETWORK)
    ] = None,
    target_tau: Annotated[float | None, _flag("Share of the network a target update takes over.", _NETWORK)] = None,
    epsilon_start: Annotated[float | None, _flag("Probability of a random action at first.", _EXPLORING)] = None,
    epsilon_end: Annotated[float | None, _flag("Probability of a random action later.", _EXPLORING)] = None,
    epsilon_steps: Annotated[int | None, _flag("Steps from the first to the latter.", _EXPLORING)] = None,
    eval_every: Annotated[int | None, _flag("Steps between evaluations.", _EVALUATING)] = None,
    eval_episodes: Annotated[int | None, _flag("Episodes an evaluation.", _EVALUATING)] = None,
    confirm_episodes: Annotated[int | None, _flag("More of them when it would be the best.", _EVALUATING)] = None,
    final_episodes: Annotated[int | None, _flag("Fresh episodes of the best checkpoint.", _EVALUATING)] = None,
    stop_return: Annotated[float | None, _flag("End once a confirmed mean return reaches it.", _EVALUATING)] = None,
    save_every: Annotated[
        int | None, _flag("Save a checkpoint at the evaluation after so many steps, besides the best.", _EVALUATING)
    ] = None,
) -> None:
    """Trains a DQN policy on an environment with discrete actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    _start(DqnSettings, context.params)


@train.command()
def sac(
    context: typer.Context,
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = 0,
    as_json: _JSON = False,
    time_limit: _TIME_LIMIT = None,
    steps: Annotated[int | None, _flag("Environment steps in all, over parallel environments.", _TRAINING)] = None,
    episodes: _EPISODES = None,
    envs: Annotated[int | None, _flag("Parallel environments.", _TRAINING)] = None,
    block_steps: Annotated[int | None, _flag("Environment steps between two blocks of updates.", _TRAINING)] = None,
    block_iterations: Annotated[int | None, _flag("Gradient updates a block.", _TRAINING)] = None,
    initial_steps: Annotated[int | None, _flag("Random steps before the first update.", _TRAINING)] = None,
    replay_capacity: Annotated[int | None, _flag("Transitions kept.", _TRAINING)] = None,
    xla: Annotated[bool | None, _flag("Compile the updates.", _TRAINING, "--xla/--no-xla")] = None,
    hidden: Annotated[str | None, _flag("Hidden layer sizes of actor and critics, such as 256,256.", _NETWORK)] = None,
    gamma: Annotated[float | None, _flag("Discount per step.", _NETWORK)] = None,
    learning_rate: Annotated[float | None, _flag("Adam's rate, for actor, critics and temperature.", _NETWORK)] = None,
    learning_rate_end: Annotated[float | None, _flag("Reached linearly at the last step.", _NETWORK)] = None,
    gradient_clip: Annotated[float | None, _flag("Largest gradient norm.", _NETWORK)] = None,
    batch_size: Annotated[int | None, _flag("Transitions an update.", _NETWORK)] = None,
    target_period: Annotated[int | None, _flag("Iterations between target updates.", _NETWORK)] = None,
    target_tau: Annotated[float | None, _flag("Share of the critics a target update takes over.", _NETWORK)] = None,
    reward_scale: Annotated[float | None, _flag("Factor on rewards, in the losses only.", _NETWORK)] = None,
    initial_alpha: Annotated[float | None, _flag("Worth of entropy at first; SAC adjusts it.", _EXPLORING)] = None,
    target_entropy: Annotated[
        float | None, _flag("Entropy that it adjusts to; minus half the action's dimensions if not given.", _EXPLORING)
    ] = None,
    eval_every: Annotated[int | None, _flag("Steps between evaluations.", _EVALUATING)] = None,
    eval_episodes: Annotated[int | None, _flag("Episodes an evaluation.", _EVALUATING)] = None,
    confirm_episodes: Annotated[int | None, _flag("More of them when it would be the best.", _EVALUATING)] = None,
    final_episodes: Annotated[int | None, _flag("Fresh episodes of the best checkpoint.", _EVALUATING)] = None,
    stop_return: Annotated[float | None, _flag("End once a confirmed mean return reaches it.", _EVALUATING)] = None,
    save_every: Annotated[
        int | None, _flag("Save a checkpoint at the evaluation after so many steps, besides the best.", _EVALUATING)
    ] = None,
) -> None:
    """Trains a SAC policy on an environment with continuous actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    _start(SacSettings, context.params)


def _start(kind: type[Chosen], flags: dict[str, Any]) -> None:
    """Checks every flag, then trains."""
    env, preset, run, seed = flags["env"], flags["preset"], flags["run"], flags["seed"]
    known_env, known = find_preset(preset, kind) if preset is not None else (None, kind())
    given = {name: value for name, value in flags.items() if name in kind.__struct_fields__ and value is not None}
    if "hidden" in given:
        given["hidden"] = parse_hidden(given["hidden"])
    settings = override(known, given)
    env = env or known_env
    if env is None:
        raise UsageError("name an environment with --env, or a preset with --preset.")
    folder = Path(run) if run else Path("runs") / f"{preset or re.sub('[/:.]+', '-', env).strip('-')}-{seed}"
    _check_folder(folder)
    _train_into(folder, env, preset, settings, seed, flags["as_json"])


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name another folder with --run.")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: already holds something; name another folder with --run, or remove it.")


def _train_into(folder: Path, env: str, preset: str | None, settings: Settings, seed: int, as_json: bool) -> None:
    from rlway_train.silence import silence, silence_compiler

    silence()
    from rlway_train.environment import find_domain

    domain = find_domain(
        env,
        getattr(settings, "discretize", None),
        settings.time_limit,
        continuous=isinstance(settings, SacSettings),
    )
    from rlway_train.progress import Reporter

    with Reporter(settings.steps) as reporter:
        from rlway_train.loop import Job, train

        job = Job(lambda: _make_learner(settings, domain, seed), domain, settings, preset, seed, folder)
        silence_compiler()

        try:
            done = train(job, reporter)
        except (RlwayError, KeyboardInterrupt) as error:
            if folder.exists():
                reporter.note(f"{folder}: unfinished; it keeps the checkpoints saved so far.")
            if isinstance(error, KeyboardInterrupt):
                reporter.note("rlway: interrupted.")
                raise typer.Exit(130) from None
            raise
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(done), indent=2).decode() + "\n")
        return
    print(
        f"{folder}: return {done.final_return:.1f} over {done.final_episodes} episodes "
        f"(random: {done.random_return:.1f}), {done.steps:,} steps, "
        f"{done.iterations_per_s:,.0f} iterations/s, {done.wall_s:.0f} s"
    )


def _make_learner(settings: Settings, domain: Domain, seed: int) -> Learner[Any]:
    if isinstance(settings, SacSettings):
        from rlway_train.sac import SacLearner

        return SacLearner(settings, domain, seed)
    from rlway_train.dqn import DqnLearner

    assert isinstance(settings, DqnSettings)
    if settings.lstm is not None:
        from rlway_train.recurrent import RecurrentDqnLearner

        return RecurrentDqnLearner(settings, domain, seed)
    return DqnLearner(settings, domain, seed)
