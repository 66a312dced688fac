"""Keeps a server under steady load while bundles of every kind are published, changed and removed in its folder.

In:      how many seconds, a seed.
Out:     how many requests were answered, and what was changed in the folder. The exit status is 1, and the findings are
         printed, where a request failed, an answer came from a version that was not sound at that time, a failed load
         was counted under a wrong reason, or the server's memory has grown.

    python -m tests.bundle_faults --seconds 60 --seed 1

Each sound version adds a different number to its Q-values, so that an answer shows from which files it was made. The
others are damaged, truncated, incomplete, differ from their manifest, or hang when they are read. One policy is asked;
others appear and disappear beside it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from tests.changing_folder import NAME, ChangingFolder
from tests.servers import Answer, Server, act_request, get_request, read_metrics, running_server, wait_until

ASKED = f"/v1/policies/{NAME}/act"
PIPELINED = 8
KEPT_BYTES = 12 * 1024 * 1024
# Fixed, because glibc raises both thresholds whenever it frees a large block, and then keeps freed memory.
ALLOCATOR = ("env", "MALLOC_TRIM_THRESHOLD_=131072", "MALLOC_MMAP_THRESHOLD_=131072")
MAX_FAILURES = 20
REASONS = {
    "damaged file": "damaged",
    "missing file": "damaged",
    "missing manifest": "manifest",
    "manifest is not JSON": "manifest",
    "unknown schema": "manifest",
    "another policy's": "manifest",
    "another shape": "model",
    "not ONNX": "model",
    "empty model": "model",
}


class Findings:
    """What was observed."""

    def __init__(self) -> None:
        self.answers = 0
        self.versions: set[int] = set()
        self.failures: list[str] = []
        self.counted: dict[str, int] = {}  # failures of loads, by reason
        self.swaps = 0

    def check(self, folder: ChangingFolder, answer: Answer, sent_s: float) -> None:
        """Checks one answer to a valid request."""
        received_s = time.monotonic()
        self.answers += 1
        if answer.status != 200:
            self.failures.append(f"{answer.status}: {answer.body!r}")
            return
        version, (_, second) = answer.json["version"], answer.json["outputs"]["q_values"]
        mark = round(second + 1.0)
        self.versions.add(version)
        if not folder.may_answer(mark, version, sent_s, received_s):
            self.failures.append(f"version {version}, made from files {mark}, was not sound then")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rlway-bundle-faults-") as folder:
        report, failures = upset(Path(folder), options.seconds, options.seed)
    print(json.dumps(report | {"failures": len(failures)}))
    for failure in failures[:MAX_FAILURES]:
        print(failure[:2000], file=sys.stderr)
    sys.exit(bool(failures))


def upset(place: Path, seconds: float, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Runs the server, the callers and the changes; returns figures and failures."""
    generator, findings, done = random.Random(seed), Findings(), threading.Event()
    folder = ChangingFolder(place / "models", generator)
    (folder.models / NAME).mkdir(parents=True)
    folder.publish()
    with (
        running_server(folder.models, place / "log", "--poll-s", "0.05", prefix=ALLOCATOR) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        callers = [pool.submit(ask, server, folder, lane, done, findings) for lane in ("hot", "query")]
        try:
            until_s, half_way = time.monotonic() + seconds, 0
            while time.monotonic() < until_s and len(findings.failures) < MAX_FAILURES:
                folder.step()
                half_way = half_way or (until_s - time.monotonic() < seconds / 2 and process.memory_info().rss)
                time.sleep(generator.uniform(0.0, 0.15))
            peak = process.memory_info().rss
            folder.clear()
            count_failures(server, folder, findings)
        finally:
            done.set()
        for caller in callers:
            caller.result()
        kept = process.memory_info().rss - before
        if kept > KEPT_BYTES:
            findings.failures.append(f"the server holds {kept / 1e6:.0f} MB more than at the start")
        if server.stop():
            findings.failures.append("the server did not end in order")
    if "Traceback" in (place / "log").read_text():
        findings.failures.append("the server's log has a traceback")
    report: dict[str, Any] = {"requests": findings.answers, "versions_that_answered": len(findings.versions)}
    report |= {"changes": dict(sorted(folder.done.items())), "swaps": findings.swaps, "load_failures": findings.counted}
    memory = {"start": before, "half_way": half_way, "before_the_end": peak, "end": before + kept}
    report |= {"memory_mb": {when: held // 10**6 for when, held in memory.items()}}
    return report, findings.failures


def ask(server: Server, folder: ChangingFolder, lane: str, done: threading.Event, findings: Findings) -> None:
    """Asks the policy repeatedly over one connection."""
    request = act_request({"observation": [1, 0, 0, 0], "outputs": ["q_values"]}, path=ASKED, lane=lane) * PIPELINED
    with server.connect() as wire:
        while not done.wait(0.001):
            sent_s = time.monotonic()
            wire.send(request)
            for _ in range(PIPELINED):
                findings.check(folder, wire.answer(), sent_s)


def count_failures(server: Server, folder: ChangingFolder, findings: Findings) -> None:
    """Checks, once nothing else changes, that the newest sound version is active and each failure is counted right."""
    newest = folder.publish()
    wait_until(lambda: describe(server)["version"] == newest, "the last sound version to be active")
    for kind, reason in REASONS.items():
        counted = counts(server)
        version = folder.break_one(kind)
        wait_until(lambda: version in {failed["version"] for failed in describe(server)["failed"]}, kind)  # noqa: B023
        if counts(server) - counted != Counter({reason: 1}):
            findings.failures.append(f"{kind}: expected one more {reason}, got {counted} and then {counts(server)}")
    findings.counted = dict(sorted(counts(server).items()))
    findings.swaps = int(read_metrics(server)["rlway_swaps_total", NAME])


def describe(server: Server) -> dict[str, Any]:
    description: dict[str, Any] = server.ask(get_request(f"/v1/policies/{NAME}")).json
    return description


def counts(server: Server) -> Counter[str]:
    """The policy's failed loads by reason."""
    samples = read_metrics(server).items()
    return Counter({key[2]: int(n) for key, n in samples if key[:2] == ("rlway_load_failures_total", NAME)})


if __name__ == "__main__":
    main()
