"""What fresh episodes gave the checkpoint that a run chose.

In:      the `training` of a manifest, which anybody may have written, or the fields of a `TrainingRun`.
Out:     `FreshReturn`, and its sentence; None where they say nothing of the kind.

A checkpoint with the best of many evaluations was also lucky in that evaluation. Fresh episodes had no part in the
choice, so their mean is not biased by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from rlway_client.common.returns import are_alike, show_estimate

UNSEEN = 0.05  # the probability that is left for what no episode showed


class FreshReturn(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of `TrainingRun` with these names."""

    final_return: float
    final_interval: tuple[float, float] | None = None
    final_episodes: Annotated[int, msgspec.Meta(ge=1)]
    chosen_among: Annotated[int, msgspec.Meta(ge=1)] | None = None

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> FreshReturn | None:
        try:
            fresh = msgspec.convert(training, cls)
        except msgspec.ValidationError:
            return None
        low, high = fresh.final_interval or (0.0, 0.0)
        return fresh if low <= high else None

    @property
    def words(self) -> str:
        """`469.1 over 20 fresh episodes (95% interval 431 to 495)`."""
        return show_estimate(self.final_return, self.final_interval, self.final_episodes, "fresh")

    @property
    def sentence(self) -> str:
        """The same with the choice: `…, by the best of 27 checkpoints`."""
        return self.words + (f", by the best of {self.chosen_among:,} checkpoints" if self.chosen_among else "")

    @property
    def most_others(self) -> float | None:
        """The largest share of episodes with another return, with 95% confidence; None if there were such episodes.

        If q is that share, n episodes show none of them with probability (1 - q)ⁿ. This is the one-sided interval of
        Clopper and Pearson, Biometrika 26 (1934), for no case among n.
        """
        if self.final_interval is None or not are_alike(*self.final_interval):
            return None
        return float(1 - UNSEEN ** (1 / self.final_episodes))
