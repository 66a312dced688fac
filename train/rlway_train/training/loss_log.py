"""The loss and the speed between evaluations, for TensorBoard.

In:      the mean loss of each block of updates, which the learner returns anyway.
Out:     their mean, and updates per second, at the first block's end after every `every` updates.

Updates run many at a time in one TensorFlow call: nothing here makes it return sooner, or computes anything in it.
"""

from __future__ import annotations

from collections.abc import Callable

Write = Callable[[int, dict[str, float]], None]  # environment steps, values by their tags

LOSS = "training/loss"
RATE = "RunTime/train_steps_per_sec"  # as TF-Agents' StepPerSecondLogTrigger calls it


class LossLog:
    """The losses that have not been told yet."""

    def __init__(self, every: int, iteration: int, write: Write, rate: bool = True) -> None:
        """`iteration` updates are behind us; without `rate`, somebody else tells the speed."""
        self._every, self._write, self._rate = every, write, rate
        self._told = iteration
        self._begin()

    def _begin(self) -> None:
        self._sum, self._iterations, self._timed_iterations, self._took_s = 0.0, 0, 0, 0.0

    def add(self, step: int, iterations: int, loss: float, took_s: float | None) -> None:
        """A block of so many updates, which ended at this environment step; None is no measure of its time."""
        self._sum += loss * iterations
        self._iterations += iterations
        if took_s is not None:
            self._timed_iterations += iterations
            self._took_s += took_s
        if (self._told + self._iterations) // self._every > self._told // self._every:
            self.tell(step)

    def tell(self, step: int) -> None:
        """Writes what there is, if there is anything."""
        if not self._iterations:
            return
        values = {LOSS: self._sum / self._iterations}
        if self._rate and self._took_s:
            values[RATE] = self._timed_iterations / self._took_s
        self._write(step, values)
        self._told += self._iterations
        self._begin()
