"""Logs loss and speed between evaluations, for TensorBoard.

In:      the mean loss of each block of updates, as the learner returns it.
Out:     the mean of those losses, and updates per second, at the end of the first block after every `every` updates.

It costs the learner nothing: a block stays one TensorFlow call.
"""

from __future__ import annotations

from collections.abc import Callable

WriteScalars = Callable[[int, dict[str, float]], None]  # environment steps, values by their tags

LOSS = "training/loss"
RATE = "RunTime/train_steps_per_sec"  # as TF-Agents' StepPerSecondLogTrigger calls it


class LossLog:
    """The losses that have not been written yet."""

    def __init__(self, every: int, iteration: int, write: WriteScalars, rate: bool = True) -> None:
        """The training stands at `iteration`. Without `rate`, the speed is not written."""
        self._every, self._write, self._rate = every, write, rate
        self._written = iteration
        self._begin()

    def _begin(self) -> None:
        self._sum, self._iterations, self._timed_iterations, self._took_s = 0.0, 0, 0, 0.0

    def add(self, step: int, iterations: int, loss: float, took_s: float | None) -> None:
        """Adds a block of `iterations` updates that ended at this environment step. Its time may be unknown."""
        self._sum += loss * iterations
        self._iterations += iterations
        if took_s is not None:
            self._timed_iterations += iterations
            self._took_s += took_s
        if (self._written + self._iterations) // self._every > self._written // self._every:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Writes the losses that have not been written yet."""
        if not self._iterations:
            return
        values = {LOSS: self._sum / self._iterations}
        if self._rate and self._took_s:
            values[RATE] = self._timed_iterations / self._took_s
        self._write(step, values)
        self._written += self._iterations
        self._begin()
