"""Runs a policy server under mixed traffic for an hour, to see whether it leaks or ever answers wrongly.

In:      small policies, of which a new version appears every --swap-s (some are damaged); the mix of traffic.py; a
         scrape of /metrics every --scrape-s. It needs little of a core, so that it can run beside other work.
Out:     answers by kind; memory and descriptors of the server and its workers, after the warm-up and at the end, from a
         Theil–Sen fit through samples taken every --sample-s; the faults. The exit status is 1 where there is a fault,
         or where resident memory grows by 2 % or more.

    PYTHONPATH=. .venv/bin/python benchmarks/soak.py --minutes 60
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from benchmarks.rig import print_table
from benchmarks.traffic import ADMIN_KEY, KEY, OPTIONS, Traffic
from tests.bundles import linear_policy, summing_policy
from tests.servers import Server, get_request, running_server

GROWTH = 0.02
CALLERS, STREAMS = 16, 8
STREAM_SHARE = 0.1  # of the rate
DAMAGED_EVERY = 7  # versions of `linear`
KEPT = 4  # published versions of a policy
TROUBLE = re.compile(r"Traceback|request id|Exception|Task was destroyed|never retrieved")


class Sample(NamedTuple):
    """Figures of the server and its workers together."""

    minutes: float
    resident_mb: float
    anonymous_mb: float  # the part that is not mapped from files, which a leak would enlarge
    descriptors: int
    threads: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--warm-up-minutes", type=float, default=5.0, help="growth in this time does not count")
    parser.add_argument("--rate", type=float, default=500.0, help="requests/s, all kinds together")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--swap-s", type=float, default=10.0)
    parser.add_argument("--scrape-s", type=float, default=5.0)
    parser.add_argument("--sample-s", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.warm_up_minutes * 60 + 2 * options.sample_s > options.minutes * 60:
        parser.error("--minutes must leave time for two samples after the warm-up")
    with tempfile.TemporaryDirectory(prefix="rlway-soak-") as name:
        folder = Path(name)
        keys, admin_keys, log = folder / "keys", folder / "admin-keys", folder / "log"
        keys.write_text(f"{KEY}\n")
        admin_keys.write_text(f"{ADMIN_KEY}\n")
        publisher = Publisher(folder)
        command = (
            "--api-keys",
            str(keys),
            "--admin-keys",
            str(admin_keys),
            "--workers",
            str(options.workers),
            *OPTIONS,
        )
        with running_server(folder / "models", log, *command) as server:
            traffic = Traffic(server.host, server.port)
            samples = asyncio.run(soak(server, traffic, publisher, options))
            status = server.stop()
        faults = traffic.faults + [
            f"the server's log: {line}" for line in log.read_text().splitlines() if TROUBLE.search(line)
        ]
        if status:
            faults.append(f"the server ended with status {status}")
    sys.exit(report(samples, traffic, faults, publisher, options))


class Publisher:
    """Publishes versions by renaming, as the exporter does, and removes old ones."""

    def __init__(self, folder: Path) -> None:
        self._drafts, self._models = folder / "drafts", folder / "models"
        self.version = self.damaged = 0
        (self._models / "broken" / "1").mkdir(parents=True)
        (self._models / "broken" / "1" / "manifest.json").write_text("{}")
        self.publish()

    def publish(self) -> None:
        self.version += 1
        for make in (linear_policy, summing_policy):
            draft = make(self._drafts, version=self.version).path
            if make is linear_policy and self.version % DAMAGED_EVERY == 0:
                model = draft / "model.onnx"
                model.write_bytes(model.read_bytes()[:-100])
                self.damaged += 1
            policy = self._models / draft.parent.name
            policy.mkdir(exist_ok=True)
            draft.rename(policy / draft.name)
            shutil.rmtree(policy / str(self.version - KEPT), ignore_errors=True)


async def soak(server: Server, traffic: Traffic, publisher: Publisher, options: argparse.Namespace) -> list[Sample]:
    """Runs all traffic, scrapes and swaps until the time is over."""
    samples: list[Sample] = []
    calls, frames = options.rate * (1 - STREAM_SHARE) / CALLERS, options.rate * STREAM_SHARE / STREAMS
    began_s = time.monotonic()

    async def every(period_s: float, what: Any) -> None:
        while True:
            await what()
            await asyncio.sleep(period_s)

    async def scrape() -> None:
        async with traffic.connection() as wire:
            status, body = await wire.ask(get_request("/metrics", f"authorization: Bearer {ADMIN_KEY}"))
        if status != 200 or b"rlway_requests_total" not in body:
            traffic.fault(f"/metrics answered {status}: {body[:100]!r}")
        traffic.answered["scraped"] += 1

    async def publish() -> None:
        await asyncio.to_thread(publisher.publish)

    async def sample() -> None:
        samples.append(measure(server.process.pid, time.monotonic() - began_s))
        if not options.json and len(samples) % 6 == 0:
            latest = samples[-1]
            answered = sum(traffic.answered.values())
            so_far = f"{latest.resident_mb:.1f} MB, {latest.descriptors} descriptors, {answered:,} answers"
            print(f"{latest.minutes:5.1f} min: {so_far}, {traffic.faulty} faults", file=sys.stderr, flush=True)

    tasks = [
        *(traffic.call(calls) for _ in range(CALLERS)),
        *(traffic.stream(frames) for _ in range(STREAMS)),
        traffic.dawdle(),
        every(options.scrape_s, scrape),
        every(options.swap_s, publish),
        every(options.sample_s, sample),
    ]
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*tasks), options.minutes * 60)
    return samples


def measure(pid: int, elapsed_s: float) -> Sample:
    server = psutil.Process(pid)
    processes = [server, *server.children(recursive=True)]
    memory = [process.memory_info() for process in processes]
    return Sample(
        elapsed_s / 60,
        sum(m.rss for m in memory) / 1e6,
        sum(m.rss - m.shared for m in memory) / 1e6,
        sum(process.num_fds() for process in processes),
        sum(process.num_threads() for process in processes),
    )


def fit(minutes: Any, values: Any) -> tuple[float, float]:
    """The first and the last value of a line through the values; single outliers do not move it."""
    early, late = np.triu_indices(len(minutes), 1)
    slope = np.median((values[late] - values[early]) / (minutes[late] - minutes[early]))
    offset = np.median(values - slope * minutes)
    return float(offset + slope * minutes[0]), float(offset + slope * minutes[-1])


def report(
    samples: list[Sample], traffic: Traffic, faults: list[str], publisher: Publisher, options: argparse.Namespace
) -> int:
    counted = np.array([sample for sample in samples if sample.minutes >= options.warm_up_minutes])
    minutes = counted[:, 0]
    lines = {name: fit(minutes, counted[:, i]) for i, name in enumerate(Sample._fields) if i}
    growth = {name: end / begin - 1 for name, (begin, end) in lines.items()}
    failed = bool(faults or traffic.faulty or growth["resident_mb"] >= GROWTH)
    if options.json:
        answered = dict(sorted(traffic.answered.items()))
        result = {"minutes": options.minutes, "answered": answered, "faulty": traffic.faulty, "faults": faults}
        print(json.dumps({"soak": result | {"growth": growth, "samples": samples, "versions": publisher.version}}))
        return int(failed)
    print_table(("answered as expected", "times"), [(k, f"{n:,}") for k, n in sorted(traffic.answered.items())])
    print_table(
        (f"after {minutes[0]:.0f} minutes", "then", f"at {minutes[-1]:.0f}", "growth", "peak"),
        [
            (name, f"{begin:.1f}", f"{end:.1f}", f"{growth[name]:+.2%}", f"{counted[:, i].max():.1f}")
            for i, (name, (begin, end)) in enumerate(lines.items(), 1)
        ],
    )
    print(
        f"\n{publisher.version} versions of each policy, {publisher.damaged} of them damaged;"
        f" {traffic.faulty} faults; resident memory grew by {growth['resident_mb']:+.2%}, bound {GROWTH:.0%}"
    )
    for fault in faults:
        print(f"  {fault}")
    print("failed" if failed else "passed")
    return int(failed)


if __name__ == "__main__":
    main()
