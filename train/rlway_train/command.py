"""`rlway train`: the command line of training.

In:      a preset or an environment, and flags.
Out:     a run folder; what it achieved, in one line or as JSON.

TensorFlow takes seconds to import, so nothing here imports it before every flag has been checked.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from rlway_client.errors import RlwayError, UsageError
from rlway_client.run import Run
from rlway_train.checkpoint import check_same_specs
from rlway_train.compare_command import compare
from rlway_train.flags import settings_as_flags
from rlway_train.plan import Plan, Wish, make_plan
from rlway_train.presets import PRESETS
from rlway_train.publisher import PUBLISH, Publisher
from rlway_train.scale_command import actor, learner, replay
from rlway_train.settings import DqnSettings, SacSettings

if TYPE_CHECKING:
    from rlway_train.environment import Domain
    from rlway_train.exchange import Exchange
    from rlway_train.progress import Reporter

train = typer.Typer(add_completion=False, rich_markup_mode="markdown", no_args_is_help=True)
for other in (compare, replay, learner, actor):
    train.command()(other)


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
_ACTORS = Annotated[
    int, typer.Option(min=0, help="Act in so many processes of their own, around a Reverb server; 0 acts in this one.")
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
    actors: _ACTORS = 0,
    publish: PUBLISH = None,
    **flags: Any,
) -> None:
    """Trains a DQN policy on an environment with discrete actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    wish = Wish(env, preset, run, seed, resume)
    plan = make_plan(DqnSettings, wish, with_actors(flags, actors))
    with Publisher(wish.folder, publish):
        report(carry_out(plan, actors), wish.folder, as_json)


@train.command()
@settings_as_flags(SacSettings)
def sac(
    env: _ENV = None,
    preset: _PRESET = None,
    run: _RUN = None,
    seed: _SEED = None,
    resume: _RESUME = False,
    as_json: _JSON = False,
    actors: _ACTORS = 0,
    publish: PUBLISH = None,
    **flags: Any,
) -> None:
    """Trains a SAC policy on an environment with continuous actions.

    Any flag overrides the preset. Progress goes to stderr, the result to stdout.
    """
    wish = Wish(env, preset, run, seed, resume)
    plan = make_plan(SacSettings, wish, with_actors(flags, actors))
    with Publisher(wish.folder, publish):
        report(carry_out(plan, actors), wish.folder, as_json)


def with_actors(flags: dict[str, Any], actors: int) -> dict[str, Any]:
    """The flags, of which --actors implies one."""
    if not actors:
        return flags
    if flags["replay"] == "tf":
        raise UsageError("--actors: they add to a Reverb server, got --replay tf; leave one of them out.")
    if flags["collect_process"]:
        raise UsageError("--collect-process: actors have processes of their own, got --actors; leave one of them out.")
    return flags | {"replay": "reverb"}


def report(done: Run, folder: Path, as_json: bool) -> None:
    """Prints what a training has achieved."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(done), indent=2).decode() + "\n")
        return
    print(
        f"{folder}: return {done.final_return:.1f} over {done.final_episodes} episodes "
        f"(random: {done.random_return:.1f}), {done.steps:,} steps, "
        f"{done.iterations_per_s:,.0f} iterations/s, {done.wall_s:.0f} s"
    )


def carry_out(plan: Plan[Any], actors: int = 0, exchange: Exchange | None = None) -> Run:
    """Trains; with actors or an exchange, from what other processes do."""
    from rlway_train.silence import only_python_speaks, silence, silence_compiler

    silence()
    if actors:
        only_python_speaks()
    from rlway_train.environment import domain_of

    settings = plan.settings
    domain = domain_of(plan.env, settings)
    if plan.saved is not None:
        check_same_specs(plan.saved, domain.leaves, domain.action)
    from rlway_train.progress import Reporter

    with Reporter(settings.steps) as reporter:
        import tensorflow as tf

        from rlway_train.trainer import train

        with suppress(RuntimeError):  # where TensorFlow runs already, it keeps the threads that it has
            tf.config.threading.set_intra_op_parallelism_threads(settings.op_threads)
        silence_compiler()
        if settings.deterministic:
            tf.config.experimental.enable_op_determinism()
        try:
            if actors:
                return _train_with(actors, plan, domain, reporter)
            return train(plan, domain, reporter, exchange)
        except (RlwayError, KeyboardInterrupt) as error:
            if plan.folder.exists():
                command = settings.algorithm if exchange is None else f"learner --replay {exchange.address}"
                command += f" --actors {actors}" * bool(actors)
                where = shlex.quote(str(plan.folder))
                reporter.note(f"{plan.folder}: unfinished; go on with: rlway train {command} --resume --run {where}")
            if isinstance(error, KeyboardInterrupt):
                reporter.note("rlway: interrupted.")
                raise typer.Exit(130) from None
            raise


def _train_with(actors: int, plan: Plan[Any], domain: Domain, reporter: Reporter) -> Run:
    """The server is here, where the learner draws from it without a network; the actors are children."""
    from rlway_train.actors import Actors
    from rlway_train.exchange import Exchange, message_tables
    from rlway_train.reverb_replay import LocalServer, Table
    from rlway_train.trainer import train

    with closing(LocalServer(Table.of(plan.settings, writers=actors), message_tables())) as server:  # noqa: SIM117
        with Actors(actors, server.address, plan.env) as acting:
            return train(plan, domain, reporter, Exchange(server.address, note=reporter.note, look=acting.check))
