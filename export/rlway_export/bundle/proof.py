"""The second part of an export: the proof that every file acts as the policy does, and measurements.

In:      the plan of an export; the files, as the conversion left them.
Out:     `Proof`: parity at every batch size, and what was measured of each file.
Refuses: a file that does not act as the policy does (ExportRefused).

The policy is the SavedModel in the bundle or, for an ONNX source, the ONNX file itself, measured as `SOURCE_FILE`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.manifest import Measured, Parity, Sampling
from rlway_client.contract.parity import summarize
from rlway_export.bundle.conversion import ExportPlan
from rlway_export.checks import parity
from rlway_export.checks.measure import Runnable, measure
from rlway_export.checks.sampling import compare_sampling
from rlway_export.formats.context import Context
from rlway_export.formats.onnx_graphs import OnnxGraphs
from rlway_export.formats.registry import Format
from rlway_export.play.rollout import Rollout
from rlway_export.reference.onnx.policy import OnnxPolicy
from rlway_export.sources.base import SAVED_MODEL, SOURCE_FILE


class Proof(NamedTuple):
    """What was found of the files, in the order of the formats."""

    details: list[list[Parity]]  # of each file, one row per batch size
    parity: list[Parity]  # of each file, the worst over its batch sizes
    measured: list[
        tuple[Measured, list[float]]
    ]  # of the policy itself and then each file, with the return of each episode
    sampling: Sampling | None  # how the source drew its actions, and whether the files draw them alike

    def report(self) -> bytes:
        """`parity.json`: what the manifest sums up, for every batch size and every episode."""
        report = {
            "parity": [row for rows in self.details for row in rows],
            "measured": [{**msgspec.to_builtins(found), "returns": returns} for found, returns in self.measured],
        }
        return msgspec.json.format(msgspec.json.encode(report), indent=2)


def prove(plan: ExportPlan, context: Context) -> Proof:
    """Compares every file with the policy, and measures all of them."""
    policy, manifest, evidence = context.policy, context.manifest, context.evidence
    title = policy.name if isinstance(policy, OnnxPolicy) else "the SavedModel"
    plan.on_step(f"comparing every file with {title}")
    runners = [wanted.open(context) for wanted in plan.formats]
    pairs = list(zip(plan.formats, runners, strict=True))
    files = [Runnable(context.folder / f.files[-1], r.run, r.batch_sizes) for f, r in pairs]
    details = [
        parity.judge(evidence, policy, file.path, runner, wanted.tolerance)
        for file, (wanted, runner) in zip(files, pairs, strict=True)
    ]
    summary = [summarize(rows) for rows in details]
    for wanted, row in zip(plan.formats, summary, strict=True):
        _refuse_failure(wanted, row, title)
    sampling = _compare_sampling(context, files)
    plan.on_step("measuring every file" + f", and playing {plan.episodes} episodes with it" * bool(plan.episodes))
    references = _references(context)
    rollout = (
        Rollout(plan.environment, manifest.interface, plan.episodes) if plan.environment and plan.episodes else None
    )
    measured = [measure(file, manifest, evidence.inputs, rollout) for file in (*references, *files)]
    return Proof(details, summary, measured, sampling)


def _compare_sampling(context: Context, files: list[Runnable]) -> Sampling | None:
    """The comparison of the draws of the first file, of which all others are known to act alike, with the source's."""
    if not files or context.policy.sampling is None:
        return context.policy.sampling
    (file, *_) = files
    return compare_sampling(context.policy, file.run, max(file.batch_sizes), context.evidence.inputs, file.path.name)


def _references(context: Context) -> list[Runnable]:
    """The policy itself, whose time those of the files are relative to; of an ONNX source also the SavedModel of it."""
    policy, graphs, saved_model = context.policy, context.source, context.folder / SAVED_MODEL
    if not isinstance(graphs, OnnxGraphs) or not isinstance(policy, OnnxPolicy):
        return [Runnable(saved_model, policy.run_act, timed=policy.timed)]
    found = [Runnable(context.folder / SOURCE_FILE, policy.run_act, policy.batch_sizes, policy.timed)]
    if saved_model.exists() and graphs.lowered is not None:
        sizes = (1, 7, 64) if graphs.lowered.rows is None else (graphs.lowered.rows,)
        found.append(Runnable(saved_model, graphs.lowered.run_act, sizes, graphs.lowered.timed))
    return found


def _refuse_failure(wanted: Format, row: Parity, title: str) -> None:
    if not row.passed:
        found = f"{row.max_difference:.2e} and {row.argmax_flips} changed actions in {row.observations} observations"
        if row.state_difference is not None:
            found += f", the state off by {row.state_difference:.2e}"
        raise ExportRefused(
            f"{row.file} does not act as {title} does: expected {row.threshold}, got {found}; "
            f"nothing was published; leave {wanted.name} out of --formats to export without it."
        )
