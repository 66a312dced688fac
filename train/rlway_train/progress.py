"""What a person sees while a training runs, on stderr.

In:      the state of the training, every block; evaluations; notes.
Out:     a line that renews itself on a terminal; elsewhere a plain one per evaluation, and at least every minute.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

DRAWN_S = 0.1  # drawing every block would cost more than the block
LINE_S = 60.0  # where lines stay, as in a log


class Exploration(NamedTuple):
    """How much a training explores: ε of DQN, the temperature α of SAC."""

    letter: str
    name: str
    value: float


@dataclass
class State:
    """Where the training stands."""

    step: int = 0
    iterations_per_s: float = 0.0
    loss: float = float("nan")
    mean_return: float = float("nan")
    exploration: Exploration | None = None

    @property
    def words(self) -> str:
        rate = f"{self.iterations_per_s:,.0f} it/s" if self.iterations_per_s else "compiled"
        earned = "not yet evaluated" if math.isnan(self.mean_return) else f"return {self.mean_return:.1f}"
        explored = f"  {self.exploration.letter} {self.exploration.value:.2f}" if self.exploration else ""
        return f"{rate}  loss {self.loss:.4f}{explored}  {earned}"


class Reporter:
    """Use it in `with`."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._start_s = self._shown_s = time.monotonic()
        self._start_step = 0
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.fields[stage]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:,.0f} steps  {task.fields[words]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=steps, stage="starting", words="")

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, name: str) -> None:
        """What goes on now, besides the training itself."""
        self._bar.update(self._task, stage=name)

    def begin(self, step: int) -> None:
        """The training goes on from this step, and what came before says nothing of how fast."""
        self._start_s, self._start_step = time.monotonic(), step
        self._bar.update(self._task, stage="training", completed=step)

    def update(self, state: State) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s < (LINE_S if self._bar.disable else DRAWN_S):
            return
        self._shown_s = now_s
        self._bar.update(self._task, completed=state.step, words=state.words)
        if self._bar.disable:
            self._line(state)

    def evaluated(self, state: State, best: bool) -> None:
        if self._bar.disable:
            self._shown_s = time.monotonic()
            self._line(state, "  best" if best else "")

    def note(self, text: str) -> None:
        if self._bar.disable:
            sys.stderr.write(f"{text}\n")  # at once: an exporter may speak, too
            sys.stderr.flush()
        else:
            self._bar.console.print(text, highlight=False)

    def _line(self, state: State, mark: str = "") -> None:
        self.note(f"step {state.step:>7,} of {self._steps:,}  {state.words}  ETA {self._eta(state.step)}{mark}")

    def _eta(self, step: int) -> str:
        per_step_s = (time.monotonic() - self._start_s) / max(step - self._start_step, 1)
        left_s = per_step_s * max(self._steps - step, 0)
        return f"{left_s / 60:.0f} min" if left_s >= 120 else f"{left_s:.0f} s"
