"""`rlway bench`: how many actions a server gives per second, and how long each takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from rlway_client.cli.connection import DEFAULT_URL, KeyOption, PolicyOption, TimeoutOption, UrlOption
from rlway_client.cli.load_progress import load_progress
from rlway_client.common.histogram import Histogram
from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.load import event_loop, report
from rlway_client.load.arrivals import Arrivals
from rlway_client.load.chart import check_png, draw
from rlway_client.load.load_test import LoadTest
from rlway_client.load.measured import Measured
from rlway_client.load.observations import sample_columns
from rlway_client.load.protocols import Protocol, check_grpc, make_dialect
from rlway_client.load.search import LEAST_REQUESTS, TRIAL_LIMITS, Found, Trial, search
from rlway_client.load.target import Target
from rlway_client.remote.client import PolicyClient
from rlway_client.remote.http import Address
from rlway_client.remote.messages import needs_episodes, read_manifest

DISTINCT_OBSERVATIONS = 256
CONNECTIONS = 32
MOST_CONNECTIONS = 65536
MOST_RATE = 1e6  # requests/s; no process sends more


def bench(
    url: UrlOption = DEFAULT_URL,
    policy: PolicyOption = None,
    protocol: Annotated[
        Protocol,
        typer.Option(help="Protocol to ask in. `stream` and `openpi` are WebSockets; `…-grpc` needs --grpc-port."),
    ] = Protocol.NATIVE,
    connections: Annotated[
        int | None,
        typer.Option(
            help=f"Connections, each with one request at a time; {CONNECTIONS} by default.", min=1, max=MOST_CONNECTIONS
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests/s in an open loop: each is due at a time that does not depend on the server. One that is "
            "due while all connections are busy waits, and its latency counts from when it was due. Without a rate, "
            "each connection sends its next request once it has an answer (a closed loop).",
            min=0.001,
            max=MOST_RATE,
        ),
    ] = None,
    arrivals: Annotated[
        Arrivals,
        typer.Option(
            help="When requests of an open loop are due: `poisson`, at random as from independent robots, or `even`, "
            "one each 1/RATE seconds."
        ),
    ] = Arrivals.POISSON,
    slo_ms: Annotated[
        float | None,
        typer.Option(
            help="Find the highest rate at which 99 % of the requests are answered within this many milliseconds: the "
            "rate doubles until it fails in two trials, then the interval is halved. Errors count as late.",
            min=0.001,
        ),
    ] = None,
    robots: Annotated[
        str | None,
        typer.Option(help="Numbers of closed-loop connections, such as 1,2,4,8: a table with one run for each."),
    ] = None,
    duration_s: Annotated[
        float,
        typer.Option(
            help="How long to measure, seconds, for each number of robots and each trial; a trial takes at least "
            f"{TRIAL_LIMITS} times the limit.",
            min=0.1,
        ),
    ] = 5.0,
    binary: Annotated[
        bool, typer.Option(help="For `oip`: send and receive tensors as octets, as tritonclient does, or as JSON.")
    ] = True,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            help="The server's port for gRPC, on the host of the URL; for `oip-grpc` and `tfs-grpc`.", min=1, max=65535
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the observations and of the arrivals.", min=0)] = 0,
    key: KeyOption = None,
    timeout_s: TimeoutOption = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
    png: Annotated[
        Path | None,
        typer.Option(help="Draw all percentiles of the latency into this PNG file, with the axes of HdrHistogram."),
    ] = None,
) -> None:
    """Load a policy server: throughput, and latency percentiles in milliseconds.

    One process: it takes about as much of a core as the server does, so give them one each. Before a run, each
    connection asks once, which is not measured; what it answers has to fit the action's spec.
    """
    numbers = _check_options(rate, duration_s, arrivals, slo_ms, robots, connections)
    if not binary and protocol is not Protocol.OIP:
        raise UsageError(f"--no-binary: expected only for the protocol oip, got {protocol}.")
    check_grpc(protocol, grpc_port)
    if png is not None:
        check_png(png)
    with PolicyClient(url, policy, key=key, timeout_s=timeout_s) as client:
        description = client.describe()
    manifest = read_manifest(description)
    columns = sample_columns(manifest.observation, DISTINCT_OBSERVATIONS, seed)
    target = Target(Address.parse(url), policy, manifest, columns, key, grpc_port, needs_episodes(description))
    where = f"{target.address.host}:{grpc_port}" if grpc_port else str(target.address)
    test = LoadTest(protocol, make_dialect(protocol, target, binary), manifest.actions, where, timeout_s, seed)
    if slo_ms is not None:
        duration_s = max(duration_s, TRIAL_LIMITS * slo_ms / 1e3)
    run = _Bench(test, connections or CONNECTIONS, duration_s, arrivals, as_json)
    title = f"{manifest.policy} over {protocol}"
    if numbers:
        runs = run.over_robots(numbers)
        _draw(png, title, {report.count(done.load.connections, "robot"): done.latencies for done in runs})
    elif slo_ms is not None:
        found = run.search(slo_ms)
        _draw(png, title, report.curves(found), slo_ms)
        if found.best is None:
            raise RlwayError(f"{where}: {report.conclusion(found, slo_ms)}.")
    else:
        measured = run.once(rate)
        load = measured.load
        label = report.count(load.connections, "connection") if rate is None else f"{report.rate_text(rate)} requests/s"
        _draw(png, title, {label: measured.latencies})


class _Bench:
    """The three ways to measure. Each prints its results as they come."""

    def __init__(self, test: LoadTest, connections: int, duration_s: float, arrivals: Arrivals, as_json: bool) -> None:
        self._test = test
        self._connections = connections
        self._duration_s = duration_s
        self._arrivals = arrivals
        self._as_json = as_json

    def once(self, rate: float | None) -> Measured:
        """One run."""
        title = (
            report.count(self._connections, "connection") if rate is None else f"{report.rate_text(rate)} requests/s"
        )
        measured = event_loop.run(self._run(title, self._connections, rate))
        self._print(report.as_values(measured), report.describe(measured))
        return measured

    def over_robots(self, numbers: list[int]) -> list[Measured]:
        """A closed loop for each number of connections."""
        self._say(report.ROBOTS_HEAD)

        async def run() -> list[Measured]:
            runs = []
            for number in numbers:
                runs.append(await self._run(report.count(number, "robot"), number, None))
                self._say(report.robots_row(runs[-1].load), *report.remarks(runs[-1].load))
            return runs

        runs = event_loop.run(run())
        self._print(report.robots_values(runs), [])
        return runs

    def search(self, slo_ms: float) -> Found:
        """Open loops at the rates of a search."""
        connections = report.count(self._connections, "connection")
        self._say(f"each trial takes {self._duration_s:g} s unless it fails sooner, over {connections}")
        self._say(report.TRIALS_HEAD)

        async def attempt(rate: float) -> Measured:
            return await self._run(f"{report.rate_text(rate)} requests/s", self._connections, rate, slo_ms / 1e3)

        def show(trial: Trial) -> None:
            self._say(report.trial_row(trial))

        found = event_loop.run(search(attempt, slo_ms, LEAST_REQUESTS / self._duration_s, show))
        self._print(report.search_values(found, slo_ms), [report.conclusion(found, slo_ms)] if found.best else [])
        return found

    async def _run(self, title: str, connections: int, rate: float | None, allowed_s: float | None = None) -> Measured:
        with load_progress(title, self._duration_s, self._as_json) as watch:
            return await self._test.run(
                connections, self._duration_s, rate=rate, arrivals=self._arrivals, allowed_s=allowed_s, watch=watch
            )

    def _say(self, *lines: str) -> None:
        if not self._as_json:
            print(*lines, sep="\n", flush=True)

    def _print(self, values: dict[str, Any], lines: list[str]) -> None:
        if self._as_json:
            print(msgspec.json.encode(values).decode())
        elif lines:
            print(*lines, sep="\n")


def parse_robots(text: str) -> list[int]:
    """Numbers of connections from `1,2,4`. Raises UsageError."""
    words = text.split(",")
    if not all(len(word) < 9 and word.strip().isdecimal() and 1 <= int(word) <= MOST_CONNECTIONS for word in words):
        raise UsageError(
            f"--robots: expected whole numbers from 1 to {MOST_CONNECTIONS} such as 1,2,4,8, got {text!r}."
        )
    return [int(word) for word in words]


def _check_options(
    rate: float | None,
    duration_s: float,
    arrivals: Arrivals,
    slo_ms: float | None,
    robots: str | None,
    connections: int | None,
) -> list[int]:
    """The numbers of robots, if any. Raises UsageError for options that do not go together."""
    given = [
        name for name, value in (("--rate", rate), ("--slo-ms", slo_ms), ("--robots", robots)) if value is not None
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: expected one of them, as each is another way to measure.")
    if arrivals is not Arrivals.POISSON and rate is None and slo_ms is None:
        raise UsageError("--arrivals: expected --rate or --slo-ms beside it, as a closed loop has no schedule.")
    if rate is not None and rate * duration_s < LEAST_REQUESTS:
        raise UsageError(
            f"--rate {rate:g}: expected at least {LEAST_REQUESTS} requests to be due in {duration_s:g} s, "
            f"got {rate * duration_s:g}; measure for a longer --duration-s."
        )
    if robots is None:
        return []
    if connections is not None:
        raise UsageError("--connections and --robots: expected one of them, as each robot has a connection of its own.")
    return parse_robots(robots)


def _draw(png: Path | None, title: str, histograms: Mapping[str, Histogram], limit_ms: float | None = None) -> None:
    if png is not None:
        draw(png, title, histograms, limit_ms)
