"""`rlway train`: the command line of training.

In:      a preset or an environment, and flags.
Out:     a run folder; what it achieved, in one line or as JSON.

TensorFlow takes seconds to import, so nothing here imports it before every flag has been checked.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from rlway_client.errors import RlwayError
from rlway_client.run import Run
from rlway_train.checkpoint import check_same_specs
from rlway_train.compare_command import compare
from rlway_train.flags import settings_as_flags
from rlway_train.plan import Plan, Wish, make_plan
from rlway_train.presets import PRESETS
from rlway_train.settings import DqnSettings, SacSettings, Settings

train = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)
train.command()(compare)


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
_SEED = Annotated[int | None, typer.Option(min=0, help="Everything random follows from it; 0 if not given.")]
_RESUME = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the run in this folder, with its own settings; begin it if there is none."
    ),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print run.json in the end.")]


@train.command()
@settings_as_flags(DqnSettings)
def dqn(
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = None,
    resume: _RESUME = False,
    as_json: _JSON = False,
    **flags: Any,
) -> None:
    """Trains a DQN policy on an environment with discrete actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    _start(DqnSettings, Wish(env, preset, run, seed, resume), as_json, flags)


@train.command()
@settings_as_flags(SacSettings)
def sac(
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = None,
    resume: _RESUME = False,
    as_json: _JSON = False,
    **flags: Any,
) -> None:
    """Trains a SAC policy on an environment with continuous actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    _start(SacSettings, Wish(env, preset, run, seed, resume), as_json, flags)


def _start(kind: type[Settings], wish: Wish, as_json: bool, flags: dict[str, Any]) -> None:
    """Checks every flag, then trains."""
    done = _carry_out(make_plan(kind, wish, flags))
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(done), indent=2).decode() + "\n")
        return
    print(
        f"{wish.folder}: return {done.final_return:.1f} over {done.final_episodes} episodes "
        f"(random: {done.random_return:.1f}), {done.steps:,} steps, "
        f"{done.iterations_per_s:,.0f} iterations/s, {done.wall_s:.0f} s"
    )


def _carry_out(plan: Plan[Any]) -> Run:
    from rlway_train.silence import silence, silence_compiler

    silence()
    from rlway_train.environment import find_domain

    settings = plan.settings
    continuous = isinstance(settings, SacSettings)
    domain = find_domain(plan.env, getattr(settings, "discretize", None), settings.time_limit, continuous)
    if plan.saved is not None:
        check_same_specs(plan.saved, domain.leaves, domain.action)
    from rlway_train.progress import Reporter

    with Reporter(settings.steps) as reporter:
        from rlway_train.loop import train

        silence_compiler()
        if settings.deterministic:
            import tensorflow as tf

            tf.config.experimental.enable_op_determinism()
        try:
            return train(plan, domain, reporter)
        except (RlwayError, KeyboardInterrupt) as error:
            if plan.folder.exists():
                again = f"rlway train {settings.algorithm} --resume --run {plan.folder}"
                reporter.note(f"{plan.folder}: unfinished; go on with: {again}")
            if isinstance(error, KeyboardInterrupt):
                reporter.note("rlway: interrupted.")
                raise typer.Exit(130) from None
            raise
