"""`rlway export`: publishes policies as bundles, or follows a training and publishes its checkpoints."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console

import rlway_export
from rlway_client.cli.progress import TimeLimit
from rlway_client.common.garbage import patient_collector
from rlway_client.common.returns import show_together
from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import UsageError
from rlway_client.contract.parity_table import parity_table
from rlway_export.bundle.batch import NOTE, export_all
from rlway_export.bundle.options import Actions, check_options, check_sources
from rlway_export.common.quiet import quiet_conversion
from rlway_export.formats.registry import DEFAULT_FORMATS, FORMATS
from rlway_export.sources.agent.code import AgentCode
from rlway_export.sources.run_facts import Each
from rlway_export.sources.tensor_options import TensorOptions

if TYPE_CHECKING:
    from rlway_export.watch.watch import Watch

NAMED = "Of an ONNX file, a Keras network, a SavedModel without action"  # whose tensors have names, but no roles


def export(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Run folder of `rlway train`, folder of a PolicySavedModelTrigger, SavedModel, ONNX file, Keras "
            "network, or with --agent a folder of checkpoints; several are published one after the other."
        ),
    ],
    models: Annotated[Path, typer.Option(help="Folder of bundles; the next version goes to MODELS/POLICY/VERSION.")],
    policy: Annotated[
        str | None,
        typer.Option(help="Name under which the policy will be served; of several sources, each has its file's name."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="best, latest, a checkpoint's number, or initial (a trigger's untrained weights); best if not given."
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option(help=f"Comma-separated list of {', '.join(FORMATS)}. The SavedModel is always included.")
    ] = DEFAULT_FORMATS,
    observations: Annotated[
        Path | None,
        typer.Option(
            help="NPZ file of observations to compare the files on: an array per tensor, one row per observation."
        ),
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import", help="Module to import first, because a SavedModel uses types from it; may be repeated."
        ),
    ] = None,
    evaluate: Annotated[
        int, typer.Option(help="Play so many episodes, greedily, with every file and with the SavedModel.", min=0)
    ] = 0,
    env: Annotated[
        str | None,
        typer.Option(
            help="Gymnasium id, module:Class or file.py:Class to play in, for --evaluate and, where none are saved, "
            "for observations to compare the files on; by default the run's own."
        ),
    ] = None,
    time_limit: TimeLimit = None,
    actions: Annotated[
        Actions, typer.Option(help="What a server does where a request does not say: the greedy action, or a sample.")
    ] = "greedy",
    guard: Annotated[
        str | None,
        typer.Option(
            help="JSON file of limits for the policy's actions, which servers, robots and C programs then apply; or "
            "observed: the limits of episodes that the policy plays for it."
        ),
    ] = None,
    meaning_file: Annotated[
        Path | None,
        typer.Option(
            "--meaning",
            help="JSON file of names, units and kinds of the policy's numbers, and its control period; otherwise as "
            "the environment of the training says.",
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            help="For a folder of tf.train.Checkpoint: module:function or file.py:function that builds its TFAgent."
        ),
    ] = None,
    observation: Annotated[
        list[str] | None,
        typer.Option(help="An input that is the observation, or a part of it; may be repeated.", rich_help_panel=NAMED),
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option(help="An output that is the action, or a part of it; may be repeated.", rich_help_panel=NAMED),
    ] = None,
    meaning: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            help="What --action is: action, q_values or logits of discrete actions, or mean of a distribution.",
            rich_help_panel=NAMED,
        ),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="IN:OUT, an input and the output of its next value; may be repeated.", rich_help_panel=NAMED),
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER, an input that always has this value; may be repeated.", rich_help_panel=NAMED),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="NPZ file of inputs and outputs, recorded by the original framework, to compare with.",
            rich_help_panel=NAMED,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="With several sources: how many to export at a time.", min=1)] = 1,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Publish a version for each new checkpoint of a run, a trigger or an agent, or whenever a file or a "
            "SavedModel is replaced. Ends with the run, or else with Ctrl-C.",
        ),
    ] = False,
    each: Annotated[
        Each | None,
        typer.Option(
            help="With --watch of a run: publish each checkpoint better than all before, or each new one; better if "
            "not given."
        ),
    ] = None,
    poll_s: Annotated[
        float | None,
        typer.Option(help="With --watch: seconds between two looks for checkpoints; 1 if not given.", min=0.01),
    ] = None,
    until_stdin_ends: Annotated[bool, typer.Option("--until-stdin-ends", hidden=True)] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print bundle, version and parity as JSON; with --watch, one line per version."),
    ] = False,
) -> None:
    """Convert a trained policy to other formats, prove that they act alike, and publish the bundle.

    Exits with 1 and publishes nothing if a file differs from the policy by more than its threshold. With several
    sources or --watch, it reports such a policy, continues with the next, and exits with 1 at the end. It never
    publishes a checkpoint twice.
    """
    names = check_sources(sources, policy, jobs, watch)
    chosen = check_options(names[0], formats, evaluate, env, time_limit)
    if watch:
        if checkpoint is not None:
            raise UsageError("--checkpoint: --watch chooses by itself, --each says how; leave one of them out.")
        parent_ended = _stdin_ended() if until_stdin_ends else None
        with quiet_conversion():
            from rlway_export.bundle.guard import WantedGuard
            from rlway_export.reference.policy import import_named
            from rlway_export.watch.kinds import Told
            from rlway_export.watch.watch import Publication, Watch

            for module in imports or ():
                import_named(module)
            taken, given, said, kept, fixed = (tuple(some or ()) for some in (observation, action, meaning, state, fix))
            tensors = TensorOptions(taken, given, said, kept, fixed, reference)
            told = Told(each, tensors, None if agent is None else AgentCode(agent), actions == "sampled")
            guarded = None if guard is None else WantedGuard.of(guard)
            how = (evaluate, env, time_limit, observations, actions, guarded, meaning_file)
            to = Publication(models, names[0], chosen, *how)
            _publish(Watch(sources[0], to, told), names[0], poll_s or 1.0, parent_ended, as_json)
        return
    if each is not None or poll_s is not None:
        raise UsageError("--each and --poll-s: say how --watch goes on; add --watch, or leave them out.")
    console = Console(stderr=True)

    def show(step: str) -> None:
        style = "yellow" if NOTE in step else "dim"  # of several sources, the policy's name goes before it
        console.print(f"  {step}", style=style, markup=False, soft_wrap=True)

    options: dict[str, Any] = {
        "checkpoint": checkpoint or "best",
        "formats": formats,
        "observations": observations,
        "imports": imports or (),
        "evaluate": evaluate,
        "env": env,
        "time_limit": time_limit,
        "actions": actions,
        "guard": guard,
        "meaning_file": meaning_file,
        "agent": agent,
        "observation": observation or (),
        "action": action or (),
        "meaning": meaning or (),
        "state": state or (),
        "fixed": fix or (),
        "reference": reference,
    }
    if len(sources) > 1:
        export_all(sources, names, models, options, jobs, _show_bundle if not as_json else _print_json, show)
        return
    with patient_collector():
        bundle = rlway_export.export(sources[0], models, names[0], **options, log=show)
    if as_json:
        _print_json(bundle)
    else:
        Console().print(parity_table(bundle.manifest))
        _show_bundle(bundle)


def _show_bundle(bundle: Bundle) -> None:
    manifest = bundle.manifest
    print(f"exported {manifest.policy} version {manifest.version} to {bundle.path}", flush=True)


def _publish(watch: Watch, policy: str, poll_s: float, parent_ended: threading.Event | None, as_json: bool) -> None:
    def published(bundle: Bundle) -> None:
        print(
            f"published {policy} version {bundle.manifest.version}: {_made_of(bundle)}",
            file=sys.stderr if as_json else sys.stdout,
            flush=True,
        )
        if as_json:
            _print_json(bundle)

    watch.publish(poll_s, parent_ended, lambda text: print(text, file=sys.stderr, flush=True), published)


def _made_of(bundle: Bundle) -> str:
    training = bundle.manifest.training
    if training.get("checkpoint") is None:
        return training.get("file") or "the SavedModel"
    words = f"checkpoint {training['checkpoint']}"
    if "evaluated_return" not in training:  # only a run evaluates its checkpoints
        return words
    earned = training["evaluated_return"]
    return f"{words}, " + ("not evaluated" if earned is None else f"return {show_together([earned])[0]}")


def _print_json(bundle: Bundle) -> None:
    summary = {"bundle": str(bundle.path), "version": bundle.manifest.version, "parity": bundle.manifest.parity}
    print(msgspec.json.encode(summary).decode(), flush=True)


def _stdin_ended() -> threading.Event:
    """Set when standard input ends: the kernel closes it when the parent process ends, even if that is killed."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended
