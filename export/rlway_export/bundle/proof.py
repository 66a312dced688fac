"""The second part of an export: the proof that every file acts as the SavedModel does, and measurements.

In:      the plan of an export; the files, as the conversion left them.
Out:     `Proof`: parity at every batch size, and what was measured of each file.
Refuses: a file that does not act as the SavedModel does (ExportRefused).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.manifest import Measured, Parity
from rlway_client.contract.parity import summarize
from rlway_export.bundle.conversion import ExportPlan
from rlway_export.checks import parity
from rlway_export.checks.measure import Runnable, measure
from rlway_export.formats.context import Context
from rlway_export.formats.registry import Format
from rlway_export.play.rollout import Rollout
from rlway_export.sources.base import SAVED_MODEL


class Proof(NamedTuple):
    """What was found of the files, in the order of the formats."""

    details: list[list[Parity]]  # of each file, one row per batch size
    parity: list[Parity]  # of each file, the worst over its batch sizes
    measured: list[
        tuple[Measured, list[float]]
    ]  # of the SavedModel and then each file, with the return of each episode

    def report(self) -> bytes:
        """`parity.json`: what the manifest sums up, for every batch size and every episode."""
        report = {
            "parity": [row for rows in self.details for row in rows],
            "measured": [{**msgspec.to_builtins(found), "returns": returns} for found, returns in self.measured],
        }
        return msgspec.json.format(msgspec.json.encode(report), indent=2)


def prove(plan: ExportPlan, context: Context) -> Proof:
    """Compares every file with the SavedModel, and measures all of them."""
    policy, manifest, evidence = context.policy, context.manifest, context.evidence
    plan.on_step("comparing every file with the SavedModel")
    runners = [wanted.open(context) for wanted in plan.formats]
    pairs = list(zip(plan.formats, runners, strict=True))
    files = [Runnable(context.folder / f.files[-1], r.run, r.batch_sizes) for f, r in pairs]
    details = [
        parity.judge(evidence, policy.interface, file.path, runner, wanted.tolerance)
        for file, (wanted, runner) in zip(files, pairs, strict=True)
    ]
    summary = [summarize(rows) for rows in details]
    for wanted, row in zip(plan.formats, summary, strict=True):
        _refuse_failure(wanted, row)
    plan.on_step("measuring every file" + f", and playing {plan.episodes} episodes with it" * bool(plan.episodes))
    saved_model = Runnable(context.folder / SAVED_MODEL, policy.run_act, timed=policy.timed)
    rollout = (
        Rollout(plan.environment, manifest.interface, plan.episodes) if plan.environment and plan.episodes else None
    )
    measured = [measure(file, manifest, evidence.inputs, rollout) for file in (saved_model, *files)]
    return Proof(details, summary, measured)


def _refuse_failure(wanted: Format, row: Parity) -> None:
    if not row.passed:
        found = f"{row.max_difference:.2e} and {row.argmax_flips} changed actions in {row.observations} observations"
        if row.state_difference is not None:
            found += f", the state off by {row.state_difference:.2e}"
        raise ExportRefused(
            f"{row.file} does not act as the SavedModel does: expected {row.threshold}, got {found}; "
            f"nothing was published; leave {wanted.name} out of --formats to export without it."
        )
