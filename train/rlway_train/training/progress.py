"""What a person sees while a training runs, on stderr.

In:      what the training does now, and where it stands; evaluations; notes.
Out:     a line that renews itself on a terminal. Elsewhere plain lines: one per evaluation, which alone tell a return,
         and one whenever there has been none for some seconds, whatever the training is busy with.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from rlway_client.common.returns import show_mean
from rlway_train.policies.exploration import ExplorationLevel

DRAWN_S = 0.1  # drawing every block would cost more than the block
LINE_S = 5.0  # where lines stay, as in a log
LOOK_S = 1.0  # whether a line is due, while nobody tells anything
TRAINING = "training"


class Length(NamedTuple):
    """What will end a training: whichever comes first."""

    steps: int
    episodes: int | None = None
    by_return: bool = False  # a good one ends it, and nobody knows when it comes

    @property
    def is_bound(self) -> bool:
        """Whether it may end before all its steps are taken."""
        return self.episodes is not None or self.by_return


@dataclass
class TrainingStatus:
    """Where the training stands."""

    step: int = 0
    episodes: int = 0  # of the training, that have ended
    iterations_per_s: float = 0.0
    loss: float = math.nan
    mean_return: float = math.nan  # of the latest evaluation
    std_return: float = 0.0
    exploration_level: ExplorationLevel | None = None

    @property
    def words(self) -> str:
        """How fast it learns, how wrong it is, how much it explores: as far as that is known."""
        rate = [f"{self.iterations_per_s:,.0f} it/s"] if self.iterations_per_s else []
        loss = [] if math.isnan(self.loss) else [f"loss {self.loss:.4f}"]
        level = self.exploration_level
        explored = [f"{level.letter} {level.value:.2f}"] if level else []
        return "  ".join(rate + loss + explored)

    @property
    def earned(self) -> str:
        if math.isnan(self.mean_return):
            return "not yet evaluated"
        return f"return {show_mean(self.mean_return, self.std_return)}"


class Reporter:
    """Use it in `with`. Whoever trains tells it from one thread; another one sees that something is said."""

    def __init__(self, length: Length, write: Callable[[str], None] | None = None) -> None:
        """Lines go to `write` rather than to stderr, if it is given."""
        self._length, self._state, self._stage = length, TrainingStatus(), "starting"
        self._start_s = self._stage_s = self._shown_s = time.monotonic()
        self._from = TrainingStatus()
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.fields[stage]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}"),
            console=console,
            transient=True,
            disable=write is not None or not console.is_terminal,
        )
        self._write = write or _to_stderr
        self._task = self._bar.add_task("", total=1.0, stage=self._stage, words="")
        self._closed, self._writing = threading.Event(), threading.Lock()
        self._watch = threading.Thread(target=self._look, daemon=True, name="rlway-progress")

    def __enter__(self) -> Reporter:
        self._bar.start()
        if self._bar.disable:
            self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._bar.disable:
            self._watch.join()
        self._bar.stop()

    def stage(self, name: str) -> None:
        """What goes on now."""
        if name != self._stage:
            self._stage, self._stage_s = name, time.monotonic()
            self._bar.update(self._task, stage=name)

    def begin(self, state: TrainingStatus) -> None:
        """The training goes on from here, and what came before says nothing of how fast."""
        self._start_s, self._from, self._state = time.monotonic(), TrainingStatus(state.step, state.episodes), state
        self._bar.update(self._task, completed=self._done(state))

    def update(self, state: TrainingStatus) -> None:
        """Where the training stands now."""
        self._state = state
        if self._bar.disable:
            self.tick()
            return
        now_s = time.monotonic()
        if now_s - self._shown_s >= DRAWN_S:
            self._shown_s = now_s
            words = "  ".join(filter(None, (f"{state.step:,} steps", state.words, state.earned, self._left(state))))
            self._bar.update(self._task, completed=self._done(state), words=words)

    def tick(self) -> None:
        """Writes a line if there has been none for a while."""
        with self._writing:
            now_s = time.monotonic()
            if now_s - self._shown_s >= LINE_S:
                self._shown_s = now_s
                self._line(self._state, *self._doing(now_s))

    def evaluated(self, state: TrainingStatus, mark: str = "", over: bool = False) -> None:
        """An evaluation, with what to say of it; perhaps the last one."""
        if self._bar.disable:
            with self._writing:
                self._shown_s = time.monotonic()
                self._line(state, state.words, state.earned, "done" if over else self._left(state), mark)

    def note(self, text: str) -> None:
        """A line of its own."""
        if self._bar.disable:
            self._write(text)
        else:
            self._bar.console.print(text, highlight=False)

    def _look(self) -> None:
        while not self._closed.wait(LOOK_S):
            self.tick()

    def _doing(self, now_s: float) -> tuple[str, ...]:
        if self._stage == TRAINING:
            return self._state.words, self._left(self._state)
        return (f"{self._stage}, {now_s - self._stage_s:.0f} s",)

    def _line(self, state: TrainingStatus, *words: str) -> None:
        length = self._length
        where = f"step {state.step:>7,} of {'at most ' * length.is_bound}{length.steps:,}"
        if length.episodes is not None:
            where += f"  episode {state.episodes:,} of {length.episodes:,}"
        self.note("  ".join(filter(None, (where, *words))))

    def _done(self, state: TrainingStatus) -> float:
        """How much of the training is over, by whichever will end it."""
        by_episodes = state.episodes / self._length.episodes if self._length.episodes else 0.0
        return max(state.step / self._length.steps, by_episodes)

    def _left(self, state: TrainingStatus) -> str:
        """How long it still takes at the present rate; nothing is said before there is one."""
        done, since = self._done(state), self._done(self._from)
        if done <= since:
            return ""
        left_s = (time.monotonic() - self._start_s) / (done - since) * max(1.0 - done, 0.0)
        minutes = left_s / 60
        shown = f"{left_s:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
        return f"ETA {'≤ ' * self._length.by_return}{shown}"


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # at once: an exporter may speak, too
    sys.stderr.flush()
