"""The guard that an export writes into its bundle.

In:      `--guard FILE`, or `--guard observed` and the actions of episodes; the specs of the policy's action.
Out:     a `Guard` that fits the specs.
Refuses: a file that cannot be read, limits that do not fit the policy, a source without an environment to play in
         (UsageError); actions that are not finite (ExportRefused).

What is observed: the range of each element of the action, and its largest change from one step of an episode to the
next, unless no change within that range could be larger. The safe action is the value nearest to zero within the range.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused, UsageError
from rlway_client.contract.guard import (
    GUARD_SCHEMA,
    UNLIMITED,
    ActionLimits,
    Guard,
    check_guard,
    read_guard,
    spec_bounds,
)
from rlway_client.contract.interface import Interface
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_export.play.collection import collect_actions
from rlway_export.play.environment import Environment
from rlway_export.reference.base import Reference
from rlway_export.sources.base import Source

OBSERVED = "observed"


class WantedGuard(NamedTuple):
    """The guard that the user wants."""

    file: Path | None  # None: what the policy does in its environment
    limits: Guard | None = None  # of the file, once it is read

    @classmethod
    def of(cls, given: str | Path) -> WantedGuard:
        """`given` is the word "observed", or a file."""
        return cls(None if str(given) == OBSERVED else Path(given))

    def read(self, source: Source, environment: Environment | None) -> WantedGuard:
        """With the limits of its file, after what can be checked before the policy is loaded. Raises UsageError."""
        if self.file is not None:
            actions = None if source.interface is None else source.interface.actions
            return self._replace(limits=read_guard(self.file, actions, UsageError))
        if environment is None and source.provenance.env is None:
            raise UsageError(
                f"--guard {OBSERVED}: plays episodes to observe the policy's actions, and its source names no "
                f"environment; add --env, or give a file of limits."
            )
        return self

    def make(self, policy: Reference, source: Source, environment: Environment | None) -> Guard:
        """The guard of a policy that is loaded. Raises UsageError or ExportRefused."""
        if self.limits is not None:
            try:
                check_guard(self.limits, policy.interface.actions)
            except ValueError as error:
                raise UsageError(f"{self.file}: {error}.") from None
            return self.limits
        episodes = collect_actions(policy, environment or Environment.find(source.provenance))
        return observed_guard(episodes, policy.interface)


def observed_guard(episodes: Sequence[Arrays], interface: Interface) -> Guard:
    """A guard that lets all these actions through: [steps, …] by name for each episode."""
    actions = {spec.name: _observed_limits([one[spec.name] for one in episodes], spec) for spec in interface.actions}
    guard = Guard(schema_version=GUARD_SCHEMA, actions=actions)
    check_guard(guard, interface.actions)
    return guard


def _observed_limits(episodes: Sequence[AnyArray], spec: TensorSpec) -> ActionLimits:
    if spec.dtype in UNLIMITED:
        return ActionLimits(safe=spec.neutral(1)[0].ravel().tolist())
    dtype = np.int64 if spec.is_discrete else spec.numpy_dtype
    flat = [episode.reshape(len(episode), spec.size).astype(dtype) for episode in episodes]
    rows = np.concatenate(flat)
    if not np.isfinite(rows).all():
        got = (
            "expected finite actions in the episodes that the policy plays, got NaN or infinity; give a file of limits"
        )
        raise ExportRefused(f"--guard {OBSERVED}: {short_name(spec.name)}: {got}.")
    least, most = (np.array(bound, dtype) for bound in spec_bounds(spec))
    # An action of float32 may pass its bounds by a rounding.
    low, high = np.maximum(rows.min(axis=0), least), np.minimum(rows.max(axis=0), most)
    largest = np.concatenate([np.abs(np.diff(episode, axis=0)) for episode in flat]).max(axis=0, initial=0)
    if not spec.is_discrete:  # the next larger number, since a difference may have been rounded down
        largest = np.where(largest > 0, np.nextafter(largest, np.inf, dtype=dtype), largest)
    pairs = zip(largest.tolist(), (high - low).tolist(), strict=True)
    return ActionLimits(
        minimum=_compact(low.tolist()),
        maximum=_compact(high.tolist()),
        change_per_step=_compact([change if 0 < change < width else None for change, width in pairs]),
        safe=_compact(np.clip(np.zeros_like(low), low, high).tolist()),
    )


def _compact(numbers: list[Any]) -> Any:
    """One number where all are alike."""
    return numbers[0] if len(set(numbers)) == 1 else numbers
