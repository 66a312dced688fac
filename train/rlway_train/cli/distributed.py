"""`rlway train replay`, `learner` and `actor`: one training in several processes around a Reverb server.

In:      flags; the replay's address.
Out:     a server, a run folder, or rows in the replay. Each command says on stderr what it waits for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlway_client.common.garbage import patient_collector
from rlway_client.contract.errors import UsageError
from rlway_train.cli.flags import PUBLISH, settings_as_flags
from rlway_train.config.presets import kind_of
from rlway_train.config.settings import DqnSettings, SacSettings
from rlway_train.training.plan import TrainingRequest, make_plan
from rlway_train.training.session import note, run_command

if TYPE_CHECKING:
    from rlway_train.distributed.channel import Channel

# The server decides these, or the command has another name for them. Images need the replay within the process.
ELSEWHERE = ("replay", "replay_capacity", "selector", "limiter", "priority_exponent", "collect_process", "conv")

REPLAY = Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of `rlway train replay`.")]
PATIENCE = Annotated[float, typer.Option(min=1, help="Give up after so many seconds without an answer.")]


def replay(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on, on every interface.")] = 8181,
    capacity: Annotated[int, typer.Option(min=1, help="Transitions kept; new ones replace the oldest.")] = 100_000,
    min_size: Annotated[int, typer.Option(min=1, help="Transitions needed before the first is sampled.")] = 1_000,
    selector: Annotated[str, typer.Option(help="How transitions are sampled: uniform or prioritized.")] = "uniform",
    priority_exponent: Annotated[
        float, typer.Option(min=0, help="With --selector prioritized: a transition's priority is raised to this power.")
    ] = 0.6,
    limiter: Annotated[
        str, typer.Option(help="ratio: actors and learner wait for each other; min-size: each as fast as it can.")
    ] = "ratio",
    samples_per_insert: Annotated[
        float, typer.Option(min=0.001, help="With --limiter ratio: how often each transition is sampled, on average.")
    ] = 64.0,
    ahead: Annotated[
        int, typer.Option(min=1, help="With --limiter ratio: the most transitions by which either side may be ahead.")
    ] = 1_000,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints of the replay; it starts from the newest.")
    ] = None,
    checkpoint_every: Annotated[float, typer.Option(min=1, help="Seconds between two checkpoints.")] = 60.0,
) -> None:
    """Serve the replay to a learner and its actors, until it is interrupted.

    With one update per step and batches of 64, each transition is sampled 64 times: --samples-per-insert 64.
    """
    for flag, value, known in (
        ("selector", selector, ("uniform", "prioritized")),
        ("limiter", limiter, ("ratio", "min-size")),
    ):
        if value not in known:
            raise UsageError(f"--{flag}: expected {' or '.join(known)}, got {value}")
    if min_size > capacity:
        raise UsageError(f"--min-size: expected at most the capacity of {capacity}, got {min_size}")
    from rlway_train.common.quiet import mute_native_stderr, quiet_libraries

    quiet_libraries()
    mute_native_stderr()
    with patient_collector():
        from rlway_train.distributed.replay_server import ReplayServer
        from rlway_train.replay.reverb import TableOptions

    table = TableOptions(
        capacity=capacity,
        min_size=min_size,
        selector="prioritized" if selector == "prioritized" else "uniform",
        priority_exponent=priority_exponent,
        samples_per_insert=samples_per_insert if limiter == "ratio" else None,
        ahead=ahead,
    )
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    with ReplayServer(table, port, checkpoints) as server:
        kept = f", {server.size:,} transitions from {checkpoints}" if server.size else ""
        note(f"replay on port {port}: {selector}, at most {capacity:,} transitions{kept}")
        server.run(ending, checkpoint_every, note)


@settings_as_flags(DqnSettings, SacSettings, without=ELSEWHERE)
def learner(
    replay: REPLAY,
    algorithm: Annotated[str | None, typer.Option(help="dqn or sac; a preset names its own.")] = None,
    env: Annotated[str | None, typer.Option(help="As for `rlway train dqn`.")] = None,
    preset: Annotated[str | None, typer.Option(help="As for `rlway train dqn`.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder to write; runs/PRESET-SEED or runs/ENV-SEED if not given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random; 0 if not given.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in this folder; start it if there is none.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print run.json at the end.")] = False,
    patience: PATIENCE = 60.0,
    publish: PUBLISH = None,
    **flags: Any,
) -> None:
    """Train on what actors add to the replay, and send them new weights.

    Any number of actors may join or leave at any time.
    """
    kind = kind_of(algorithm, preset)
    foreign = [name for name, value in flags.items() if value is not None and name not in kind.__struct_fields__]
    if foreign:
        raise UsageError(f"--{foreign[0].replace('_', '-')}: is no setting of {kind.algorithm}; leave it out.")
    request = TrainingRequest(env, preset, run, seed, resume)
    channel = reach(replay, patience)
    given = flags | {"replay": "reverb"}
    if kind is DqnSettings:
        given["selector"] = "prioritized" if channel.rows().prioritized else "uniform"
    run_command(make_plan(kind, request, given), publish, as_json, channel=channel)


def actor(
    replay: REPLAY,
    env: Annotated[
        str | None,
        typer.Option(help="The learner's environment on this machine, if it is code: a file or a module."),
    ] = None,
    patience: PATIENCE = 60.0,
) -> None:
    """Act in environments and add to the replay, until the learner's training is over."""
    channel = reach(replay, patience)
    from rlway_train.distributed.actor import Actor

    number = int.from_bytes(os.urandom(3), "little")
    started = Actor(channel, number, env, note)
    try:
        started.run()
    except KeyboardInterrupt:
        note(f"interrupted after {started.steps:,} steps.")
        _leave(130)
    print(f"replay at {channel.address}: the training is over; {started.steps:,} steps")
    _leave(0)


def reach(address: str, patience_s: float) -> Channel:
    """The channel to this address, once the server there has answered."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"--replay: expected HOST:PORT such as localhost:8181, got {address!r}")
    from rlway_train.common.quiet import mute_native_stderr, quiet_libraries

    quiet_libraries()
    mute_native_stderr()
    with patient_collector():
        from rlway_train.distributed.channel import Channel

    channel = Channel(address, patience_s, note)
    channel.reach()
    return channel


def _leave(status: int) -> None:
    """Exits without waiting for threads that wait for a server."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
