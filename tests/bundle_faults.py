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
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.bundles import linear_policy, q_network_policy
from tests.serve.registry.test_startup import BREAKAGES, flip_a_byte
from tests.servers import Answer, Server, act_request, get_request, read_metrics, running_server, wait_until

NAME = "good"
ASKED = f"/v1/policies/{NAME}/act"
PIPELINED = 8
REMOVAL_S = 30.0  # a version that was removed longer ago must not answer, even on a busy machine
KEPT_BYTES = 12 * 1024 * 1024
# Fixed, because glibc raises both thresholds whenever it frees a large block, and then keeps freed memory.
ALLOCATOR = ("env", "MALLOC_TRIM_THRESHOLD_=131072", "MALLOC_MMAP_THRESHOLD_=131072")
MAX_FAILURES = 20
LABELS = ["{", '{"stable": 0}', '{"stable": "1"}', "[" * 100_000, "{" + '"a":{' * 10_000, " " * 1_000_000, "\xff"]
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


class Sound(NamedTuple):
    """A version that may answer, beginning at `since`."""

    version: int
    since: float


class Folder:
    """Changes a models folder, and records which versions may be active."""

    def __init__(self, models: Path, generator: random.Random) -> None:
        self.models, self._drafts = models, models.with_name("drafts")
        self._generator = generator
        self.sound: dict[int, Sound] = {}  # by mark
        self.removed: dict[int, float] = {}  # by mark: when it was removed
        self.done: Counter[str] = Counter()
        self._marks: dict[int, int] = {}  # by version, of the sound ones that are in the folder
        self._numbers, self._all_marks = itertools.count(1), itertools.count(1)
        self._hanging: list[Path] = []

    def step(self) -> None:
        """Makes one change of any kind."""
        changes: dict[Callable[[], object], int] = {
            self.publish: 4,
            self.break_one: 6,
            self.copy_slowly: 2,
            self.damage: 1,
            self.remove: 3,
            self.replace: 2,
            self.hang: 1,
            self.set_labels: 2,
            self.guest: 3,
        }
        (change,) = self._generator.choices(list(changes), list(changes.values()))
        change()
        self.done[change.__name__] += 1

    def publish(self, version: int | None = None) -> int:
        """Publishes a sound version by renaming its folder."""
        version = version or next(self._numbers)
        draft, mark = self._draft(version)
        self._vouch(version, mark)
        draft.rename(self.models / NAME / str(version))
        return version

    def break_one(self, kind: str | None = None) -> int:
        """Publishes a broken version by renaming its folder."""
        version, kind = next(self._numbers), kind or self._generator.choice(list(BREAKAGES))
        draft, _ = self._draft(version)
        BREAKAGES[kind][0](draft)
        draft.rename(self.models / NAME / str(version))
        return version

    def copy_slowly(self) -> None:
        """Copies a sound version file by file into its final folder, with part of each file missing for a while."""
        version = next(self._numbers)
        draft, mark = self._draft(version)
        here = self.models / NAME / str(version)
        here.mkdir()
        files = ["manifest.json", "model.onnx"]
        self._generator.shuffle(files)
        for name in files:
            content = (draft / name).read_bytes()
            cut = self._generator.randrange(len(content))
            (here / name).write_bytes(content[:cut])
            time.sleep(self._generator.uniform(0, 0.1))
            if name == files[-1]:
                self._vouch(version, mark)
            with (here / name).open("ab") as file:
                file.write(content[cut:])
        shutil.rmtree(draft)

    def damage(self) -> None:
        """Damages a sound version in place: it may go on if it is loaded, but it cannot be loaded again."""
        if len(self._marks) > 1:
            self._unlabel()
            version = self._generator.choice(list(self._marks))
            flip_a_byte(self.models / NAME / str(version))
            del self._marks[version]

    def remove(self) -> None:
        """Removes any version except the last sound one."""
        removable = [v for v in self._versions() if v not in self._marks or len(self._marks) > 1]
        if removable:
            self._take_away(self._generator.choice(removable))

    def replace(self) -> None:
        """Removes a sound version, then publishes another one with the same number."""
        if len(self._marks) > 1:
            version = self._generator.choice(list(self._marks))
            self._take_away(version)
            self.publish(version)

    def hang(self) -> None:
        """Publishes a version whose manifest hangs when it is read, and ends the hanging one before it."""
        self.release()
        path = self.models / NAME / str(next(self._numbers))
        path.mkdir()
        os.mkfifo(path / "manifest.json")
        self._hanging.append(path)

    def release(self) -> None:
        """Lets whoever reads a hanging version see the end of the file."""
        for path in self._hanging:
            with suppress(OSError):  # nobody reads it, or it has been removed
                os.close(os.open(path / "manifest.json", os.O_WRONLY | os.O_NONBLOCK))
            shutil.rmtree(path, ignore_errors=True)
        self._hanging.clear()

    def set_labels(self) -> None:
        """Writes right or wrong labels, or removes them."""
        labels = self.models / NAME / "labels.json"
        choice = self._generator.randrange(3)
        if choice == 0:
            self._unlabel()
        elif choice == 1:
            labels.write_text(json.dumps({"stable": self._generator.choice(list(self._marks))}))
        else:
            labels.write_text(self._generator.choice(LABELS), "latin-1")

    def guest(self) -> None:
        """Publishes another policy (broken, large or sound), or removes it."""
        name = f"guest-{self._generator.randrange(4)}"
        if (self.models / name).exists():
            shutil.rmtree(self.models / name)
        elif self._generator.random() < 0.3:
            q_network_policy(self.models, name, (1024, 1024))
        else:
            bundle = linear_policy(self._drafts, name)
            if self._generator.random() < 0.7:
                BREAKAGES[self._generator.choice(list(BREAKAGES))][0](bundle.path)
            bundle.path.parent.rename(self.models / name)

    def clear(self) -> None:
        """Leaves only the sound versions of the policy that is asked."""
        self.release()
        self._unlabel()
        for path in self.models.glob("guest-*"):
            shutil.rmtree(path)
        for version in self._versions():
            if version not in self._marks:
                self._take_away(version)

    def may_answer(self, mark: int, version: int, sent_s: float, received_s: float) -> bool:
        """Whether an answer from this version and these files can be right."""
        sound = self.sound.get(mark)
        if sound is None or sound.version != version or sound.since > received_s:
            return False
        return sent_s < self.removed.get(mark, sent_s) + REMOVAL_S

    def _versions(self) -> list[int]:
        return [int(path.name) for path in (self.models / NAME).iterdir() if path.name.isdigit()]

    def _draft(self, version: int) -> tuple[Path, int]:
        mark = next(self._all_marks)
        return linear_policy(self._drafts, NAME, version=version, bias=mark).path, mark

    def _vouch(self, version: int, mark: int) -> None:
        self.sound[mark] = Sound(version, time.monotonic())
        self._marks[version] = mark

    def _unlabel(self) -> None:
        (self.models / NAME / "labels.json").unlink(missing_ok=True)

    def _take_away(self, version: int) -> None:
        self._unlabel()  # a label may name the version that is removed, and would keep it loaded
        shutil.rmtree(self.models / NAME / str(version))
        if version in self._marks:
            self.removed[self._marks.pop(version)] = time.monotonic()


class Findings:
    """What was observed."""

    def __init__(self) -> None:
        self.answers = 0
        self.versions: set[int] = set()
        self.failures: list[str] = []
        self.counted: dict[str, int] = {}  # failures of loads, by reason
        self.swaps = 0

    def check(self, folder: Folder, answer: Answer, sent_s: float) -> None:
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
    folder = Folder(place / "models", generator)
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


def ask(server: Server, folder: Folder, lane: str, done: threading.Event, findings: Findings) -> None:
    """Asks the policy repeatedly over one connection."""
    request = act_request({"observation": [1, 0, 0, 0], "outputs": ["q_values"]}, path=ASKED, lane=lane) * PIPELINED
    with server.connect() as wire:
        while not done.wait(0.001):
            sent_s = time.monotonic()
            wire.send(request)
            for _ in range(PIPELINED):
                findings.check(folder, wire.answer(), sent_s)


def count_failures(server: Server, folder: Folder, findings: Findings) -> None:
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
