"""The progress of a training, on stderr.

In:      the stage and the status of the training; evaluations; notes.
Out:     on a terminal, one line that is redrawn. Elsewhere plain lines: one for each evaluation, and one whenever there
         has been none for some seconds. Only the lines of evaluations have a return.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from rlway_client.common.returns import show_mean
from rlway_train.policies.exploration import ExplorationLevel
from rlway_train.training.forecast import Evaluated, Forecast, Length

DRAW_S = 0.1  # between two redraws: drawing takes longer than a block
LINE_S = 5.0  # between two plain lines
LOOK_S = 1.0  # between two checks whether a line is due
TRAINING, EVALUATING = "training", "evaluating"  # stages


@dataclass
class TrainingStatus:
    """The status of a training."""

    step: int = 0
    episodes: int = 0  # training episodes that have ended
    iterations_per_s: float = 0.0
    loss: float = math.nan
    mean_return: float = math.nan  # of the latest evaluation
    std_return: float = 0.0
    unconfirmed: float = 1.0  # the share of its episodes that did not only confirm it
    evaluations: int = 0  # of trained policies
    first_return: float = math.nan  # of the untrained policy
    best_return: float = math.nan  # of the best evaluation, as it was confirmed
    best_std: float = 0.0
    best_step: int = 0
    exploration_level: ExplorationLevel | None = None

    @property
    def words(self) -> str:
        """Speed, loss and exploration level, as far as they are known."""
        rate = [f"{self.iterations_per_s:,.0f} it/s"] if self.iterations_per_s else []
        loss = [] if math.isnan(self.loss) else [f"loss {self.loss:.4f}"]
        level = self.exploration_level
        explored = [f"{level.letter} {level.value:.2f}"] if level else []
        return "  ".join(rate + loss + explored)

    @property
    def earned(self) -> str:
        """The latest return, and the best one beside it if it is another."""
        if math.isnan(self.mean_return):
            return "not yet evaluated"
        latest = f"return {show_mean(self.mean_return, self.std_return)}"
        if math.isnan(self.best_return) or self.best_return == self.mean_return:
            return latest
        return f"{latest}  best {show_mean(self.best_return, self.best_std)} at {self.best_step:,}"


class Reporter:
    """Use it in `with`. The training calls it from one thread; a second thread writes a line when one is due."""

    def __init__(self, length: Length, write: Callable[[str], None] | None = None) -> None:
        """Lines go to `write`, or to stderr if it is not given."""
        self._length, self._status, self._stage = length, TrainingStatus(), "starting"
        self._stage_s = self._shown_s = time.monotonic()
        self._forecast = Forecast(length.stop_return)
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
        self._ticker = threading.Thread(target=self._tick_regularly, daemon=True, name="rlway-progress")

    def __enter__(self) -> Reporter:
        self._bar.start()
        if self._bar.disable:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._bar.disable:
            self._ticker.join()
        self._bar.stop()

    def stage(self, name: str) -> None:
        """Sets the name of the present stage."""
        if name != self._stage:
            self._stage, self._stage_s = name, time.monotonic()
            self._bar.update(self._task, stage=name)

    def begin(self, status: TrainingStatus) -> None:
        """Starts to estimate the time left, from this status on."""
        self._status = status
        self._forecast.begin(self._fraction_done(status), time.monotonic())
        self._bar.update(self._task, completed=self._fraction_done(status))

    def update(self, status: TrainingStatus) -> None:
        """Sets the present status."""
        self._status = status
        if self._bar.disable:
            self.tick()
            return
        now_s = time.monotonic()
        if now_s - self._shown_s >= DRAW_S:
            self._shown_s = now_s
            words = "  ".join(filter(None, (f"{status.step:,} steps", status.words, status.earned, self._eta(status))))
            self._bar.update(self._task, completed=self._fraction_done(status), words=words)

    def tick(self) -> None:
        """Writes a line if there has been none for a while."""
        with self._writing:
            now_s = time.monotonic()
            if now_s - self._shown_s >= LINE_S:
                self._shown_s = now_s
                self._line(self._status, *self._stage_words(now_s))

    def evaluated(self, status: TrainingStatus, mark: str = "", over: bool = False) -> None:
        """Shows an evaluation, with a remark. `over` if it is the last one."""
        if status.evaluations:
            now_s = time.monotonic()
            took_s = now_s - self._stage_s if self._stage == EVALUATING else 0.0
            self._forecast.evaluated(self._evaluated(status), now_s, took_s, status.unconfirmed)
        if self._bar.disable:
            with self._writing:
                self._shown_s = time.monotonic()
                self._line(status, status.words, status.earned, "done" if over else self._eta(status), mark)

    def note(self, text: str) -> None:
        """Writes a line of its own."""
        if self._bar.disable:
            self._write(text)
        else:
            self._bar.console.print(text, highlight=False)

    def _tick_regularly(self) -> None:
        while not self._closed.wait(LOOK_S):
            self.tick()

    def _stage_words(self, now_s: float) -> tuple[str, ...]:
        if self._stage == TRAINING:
            return self._status.words, self._eta(self._status)
        return (f"{self._stage}, {now_s - self._stage_s:.0f} s",)

    def _line(self, status: TrainingStatus, *words: str) -> None:
        length = self._length
        where = f"step {status.step:>7,} of {'at most ' * length.is_bound}{length.steps:,}"
        if length.episodes is not None:
            where += f"  episode {status.episodes:,} of {length.episodes:,}"
        self.note("  ".join(filter(None, (where, *words))))

    def _fraction_done(self, status: TrainingStatus) -> float:
        """The share of the training that is done."""
        return self._length.share(status.step, status.episodes)

    def _evaluated(self, status: TrainingStatus) -> Evaluated:
        share = self._fraction_done(status)
        best_share = share * status.best_step / max(status.step, 1)
        return Evaluated(share, status.evaluations, status.first_return, status.best_return, best_share)

    def _eta(self, status: TrainingStatus) -> str:
        """The time left; empty while there is no pace."""
        left = self._forecast.left(self._fraction_done(status), time.monotonic())
        return f"ETA {left.words}" if left else ""


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # in one write, because an exporter may write at the same time
    sys.stderr.flush()
