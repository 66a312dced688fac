"""A models folder in which bundles of every kind are published, changed and removed.

In:      a folder, a random generator.
Out:     the changes; and whether an answer may come from a version at a given time.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.bundles import linear_policy, q_network_policy
from tests.serve.registry.test_startup import BREAKAGES, flip_a_byte

NAME = "good"
REMOVAL_S = 30.0  # a version that was removed longer ago must not answer, even on a busy machine
LABELS = ["{", '{"stable": 0}', '{"stable": "1"}', "[" * 100_000, "{" + '"a":{' * 10_000, " " * 1_000_000, "\xff"]


class Sound(NamedTuple):
    """A version that may answer, beginning at `since`."""

    version: int
    since: float


class ChangingFolder:
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
