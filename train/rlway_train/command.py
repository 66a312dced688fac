"""`rlway train`: the command line of training.

In:      a preset or an environment, and flags.
Out:     a run folder; what it achieved, in one line or as JSON.

TensorFlow takes seconds to import, so nothing here imports it before every flag has been checked.
"""

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
from rlway_train.flags import overridden, settings_as_flags
from rlway_train.presets import PRESETS, find_preset
from rlway_train.settings import Chosen, DqnSettings, SacSettings, Settings

if TYPE_CHECKING:
    from rlway_train.environment import Domain
    from rlway_train.learner import Learner

train = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)


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


_ENV = Annotated[
    str | None, typer.Option(help="Gymnasium id, module:Class or path/to/file.py:Class; a preset names its own.")
]
_PRESET = Annotated[str | None, typer.Option(help="Known-good settings; `rlway train --list-presets` shows them.")]
_RUN = Annotated[Path | None, typer.Option(help="Folder to write; runs/PRESET-SEED or runs/ENV-SEED if not given.")]
_SEED = Annotated[int, typer.Option(min=0, help="Everything random follows from it.")]
_JSON = Annotated[bool, typer.Option("--json", help="Print run.json in the end.")]


@train.command()
@settings_as_flags(DqnSettings)
def dqn(
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = 0,
    as_json: _JSON = False,
    **flags: Any,
) -> None:
    """Trains a DQN policy on an environment with discrete actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    _start(DqnSettings, env, preset, run, seed, as_json, flags)


@train.command()
@settings_as_flags(SacSettings)
def sac(
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = 0,
    as_json: _JSON = False,
    **flags: Any,
) -> None:
    """Trains a SAC policy on an environment with continuous actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    _start(SacSettings, env, preset, run, seed, as_json, flags)


def _start(
    kind: type[Chosen],
    env: str | None,
    preset: str | None,
    run: Path | None,
    seed: int,
    as_json: bool,
    flags: dict[str, Any],
) -> None:
    """Checks every flag, then trains."""
    known_env, known = find_preset(preset, kind) if preset is not None else (None, kind())
    settings = overridden(known, flags)
    env = env or known_env
    if env is None:
        raise UsageError("name an environment with --env, or a preset with --preset.")
    folder = run or Path("runs") / f"{preset or re.sub('[/:.]+', '-', env).strip('-')}-{seed}"
    _check_folder(folder)
    _train_into(folder, env, preset, settings, seed, as_json)


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
        from rlway_train.strategy import make_strategy

        strategy = make_strategy(settings)
        job = Job(lambda: _make_learner(settings, domain, seed, strategy), domain, settings, preset, seed, folder)
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


def _make_learner(settings: Settings, domain: Domain, seed: int, strategy: Any) -> Learner[Any]:
    with strategy.scope():
        if isinstance(settings, SacSettings):
            from rlway_train.sac import SacLearner

            return SacLearner(settings, domain, seed)
        from rlway_train.dqn import DqnLearner

        assert isinstance(settings, DqnSettings)
        return DqnLearner(settings, domain, seed)
