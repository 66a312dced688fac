"""One training in this process, started from Python or by a command.

In:      a plan, or the arguments that make one; where the lines of progress go.
Out:     `TrainingRun`, and the run folder that it describes. A command prints the result.
Refuses: what the plan, the environment, the learner and the folder refuse. What has been learned so far is saved.

TensorFlow takes seconds to import, so nothing here imports it before every setting has been checked.
"""

from __future__ import annotations

import difflib
import shlex
import sys
import warnings
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from rlway_client.common.garbage import patient_collector
from rlway_client.common.quote import clipped
from rlway_client.common.returns import show_together
from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.contract.fresh_return import FreshReturn
from rlway_client.contract.run import TrainingRun, read_run
from rlway_client.envs.names import name_of
from rlway_train.config.convolutions import BY_SIZE
from rlway_train.config.presets import kind_of
from rlway_train.config.settings import TrainingSettings
from rlway_train.runs.checkpoint import Checkpoints, check_same_specs
from rlway_train.training.forecast import Length, show_duration
from rlway_train.training.plan import Plan, TrainingRequest, make_plan
from rlway_train.training.publisher import Publisher

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel
    from rlway_train.envs.domain import Domain
    from rlway_train.training.progress import Reporter

Log = Callable[[str], None]  # takes a line of progress

INTERRUPTED = 130  # exit status


class Trained(NamedTuple):
    """A finished training."""

    folder: Path  # with learning_curve.png, trained.mp4 and the other files of a run
    run: TrainingRun  # the content of run.json


def train(
    env: str | type[Any] | None = None,
    *,
    preset: str | None = None,
    algorithm: str | None = None,
    run: str | Path | None = None,
    seed: int | None = None,
    resume: bool = False,
    publish: str | Path | None = None,
    log: Log | None = None,
    **settings: Any,
) -> Trained:
    """See rlway_train.train, which calls this."""
    name, folder = None if env is None else name_of(env), None if run is None else Path(run)
    request = TrainingRequest(name, preset, folder, seed, resume)
    saved = Checkpoints(request.folder).read() if resume and algorithm is None else None
    kind = kind_of(saved.algorithm if saved else algorithm, preset)
    plan = make_plan(kind, request, _checked(kind, settings))
    with warnings.catch_warnings(), Publisher(request.folder, None if publish is None else Path(publish), plan.env):
        carry_out(plan, log)
    return Trained(request.folder, read_run(request.folder))


def run_command(
    plan: Plan[Any], publish: Path | None, as_json: bool, actors: int = 0, channel: Channel | None = None
) -> None:
    """Trains as a command does: prints the result or, if the training ends early, how to continue it."""
    with Publisher(plan.folder, publish, plan.env):
        try:
            run = carry_out(plan, actors=actors, channel=channel, is_command=True)
        except (RlwayError, KeyboardInterrupt) as error:
            if plan.folder.exists():
                command = plan.settings.algorithm if channel is None else f"learner --replay {channel.address}"
                command += f" --actors {actors}" * bool(actors)
                where = shlex.quote(str(plan.folder))
                note(f"{plan.folder}: unfinished; go on with: rlway train {command} --resume --run {where}")
            if isinstance(error, KeyboardInterrupt):
                note("rlway: interrupted.")
                raise SystemExit(INTERRUPTED) from None
            raise
        report(run, plan.folder, as_json)


def report(run: TrainingRun, folder: Path, as_json: bool) -> None:
    """Prints the result of a training."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(run), indent=2).decode() + "\n")
        return
    fresh = FreshReturn.of(msgspec.structs.asdict(run))
    assert fresh is not None
    at_random = show_together([run.final_return, run.random_return])[1]
    print(
        f"{folder}: return {fresh.sentence}; random actions: {at_random}\n"
        f"{run.steps:,} steps, {run.iterations_per_s:,.0f} iterations/s, "
        f"{show_duration(run.wall_s)} with compiling and evaluating"
    )


def note(text: str) -> None:
    """Prints a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def carry_out(
    plan: Plan[Any],
    log: Log | None = None,
    actors: int = 0,
    channel: Channel | None = None,
    is_command: bool = False,
) -> TrainingRun:
    """Trains. With actors or a channel, other processes collect. Without `log`, progress goes to stderr."""
    from rlway_train.common.quiet import mute_native_stderr, quiet_compiler, quiet_libraries

    quiet_libraries()
    if actors:
        mute_native_stderr()
    from rlway_train.envs.domain import domain_of

    settings = plan.settings
    domain = domain_of(plan.env, settings)
    if plan.saved is not None:
        check_same_specs(plan.saved, domain.leaves, domain.action)
    from rlway_train.training.progress import Reporter

    with Reporter(Length(settings.steps, settings.episodes, settings.stop_return), log) as reporter:
        with patient_collector() if is_command else nullcontext():
            import tensorflow as tf

            from rlway_train.training.train import train

        with suppress(RuntimeError):  # once TensorFlow runs, its threads can no longer be changed
            tf.config.threading.set_intra_op_parallelism_threads(settings.op_threads)
        quiet_compiler()
        if settings.deterministic:
            tf.config.experimental.enable_op_determinism()
        if actors:
            return _train_with(actors, plan, domain, reporter)
        return train(plan, domain, reporter, channel)


def _train_with(actors: int, plan: Plan[Any], domain: Domain, reporter: Reporter) -> TrainingRun:
    """The replay server is in this process, where the learner samples without a network. The actors are children."""
    from rlway_train.distributed.channel import Channel, message_tables
    from rlway_train.distributed.launcher import ActorLauncher
    from rlway_train.replay.reverb import LocalServer, TableOptions
    from rlway_train.training.train import train

    with closing(LocalServer(TableOptions.of(plan.settings, writers=actors), message_tables())) as server:  # noqa: SIM117
        with ActorLauncher(actors, server.address, plan.env) as launched:
            return train(plan, domain, reporter, Channel(server.address, note=reporter.note, look=launched.check))


def _checked(kind: type[TrainingSettings], given: dict[str, Any]) -> dict[str, Any]:
    """The settings, converted to their types. Unlike a command's flags, arguments from Python may be of any type."""
    hints = get_type_hints(kind)
    checked = {}
    for name, value in given.items():
        if name not in kind.__struct_fields__:
            if name == "actors":
                raise UsageError("actors: is for the command line alone, `rlway train --actors N`; leave it out.")
            near = difflib.get_close_matches(name, kind.__struct_fields__, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; `rlway train {kind.algorithm} --help` shows them."
            raise UsageError(f"{name}: is no setting of {kind.algorithm}{hint}")
        value = BY_SIZE if name == "conv" and value is True else value
        # The value of a Literal is checked later. Layer sizes may be text, as on the command line.
        is_text = get_origin(hints[name]) is Literal or (name == "hidden" and isinstance(value, str))
        if isinstance(value, np.generic):
            value = value.item()
        try:
            checked[name] = value if is_text else msgspec.convert(value, hints[name])
        except msgspec.ValidationError:
            kinds = [one.__name__ for one in get_args(hints[name]) or (hints[name],) if isinstance(one, type)]
            expected = "layer sizes such as (256, 256)" if name == "hidden" else kinds[0]
            raise UsageError(f"{name}: expected {expected}, got {clipped(repr(value))}.") from None
    return checked
