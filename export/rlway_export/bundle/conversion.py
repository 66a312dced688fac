"""The first part of an export: the policy, its SavedModel, and every wanted file converted from it.

In:      the plan of an export, the draft's folder.
Out:     `Context`: the files in the folder, the manifest so far, and the evidence to prove them with.
Refuses: an environment that does not fit, an unreadable file of observations, sampled actions of a policy without
         noise, a guard or a meaning that does not fit, before anything is converted; what the source and the formats
         refuse.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import NamedTuple

import msgspec

from rlway_client.contract.errors import UsageError
from rlway_client.contract.exploration import Explore
from rlway_client.contract.guard import Guard
from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest, tensor_fields
from rlway_client.contract.meaning import Meaning
from rlway_client.contract.parity import Arrays
from rlway_export.bundle.guard import WantedGuard
from rlway_export.bundle.meaning import GivenMeaning
from rlway_export.bundle.options import Actions
from rlway_export.bundle.serving_model import write_serving_model
from rlway_export.checks import parity
from rlway_export.checks.lookups import LookupFindings, find_lookups
from rlway_export.checks.observations import Observations, check_file
from rlway_export.checks.sampling import default_explore
from rlway_export.common.provenance import Provenance
from rlway_export.formats.context import Context
from rlway_export.formats.onnx_graphs import OnnxGraphs
from rlway_export.formats.registry import FLOAT32, Format
from rlway_export.play.collection import collect_observations
from rlway_export.play.environment import Environment
from rlway_export.reference.base import Reference
from rlway_export.reference.onnx.policy import OnnxPolicy
from rlway_export.reference.policy import SavedPolicy
from rlway_export.sources.base import Source
from rlway_export.sources.onnx.source import OnnxSource

TOOLS = ("tensorflow", "tf-agents", "tf2onnx", "onnx", "onnxruntime", "rlway-export")


class ExportPlan(NamedTuple):
    """What an export makes, and what it starts from."""

    source: Source
    policy: str  # its name
    formats: Sequence[Format]  # besides the SavedModel
    on_step: Callable[[str], None]  # is called with a line about each step
    environment: Environment | None  # named by the user, or needed to play episodes
    episodes: int  # to play with each file
    observations: Path | None  # a file of the user's
    actions: Actions = "greedy"  # what a server does where a request does not say
    guard: WantedGuard | None = None
    meaning: GivenMeaning | None = None

    @classmethod
    def check(
        cls,
        source: Source,
        policy: str,
        formats: Sequence[Format],
        on_step: Callable[[str], None],
        episodes: int,
        observations: Path | None,
        env: str | None,
        time_limit: int | None,
        actions: Actions = "greedy",
        guard: WantedGuard | None = None,
        meaning: Path | None = None,
    ) -> ExportPlan:
        """The plan, after everything is checked that can be checked before the policy is loaded.

        The files of guard and meaning are read here, once: that they are changed later does not count.
        """
        if observations is not None:
            check_file(observations, source.interface)
        environment = None
        if episodes or env is not None:
            environment = Environment.find(source.provenance, env, time_limit)
            environment.check(source.interface)
        wanted = None if guard is None else guard.read(source, environment)
        meant = None if meaning is None else GivenMeaning.read(meaning)
        plan = cls(source, policy, formats, on_step, environment, episodes, observations, actions, wanted, meant)
        plan.find_meaning(source.interface)
        return plan

    def default_explore(self, policy: Reference) -> Explore | None:
        """What a server does where a request does not say; None: it acts greedily. Raises UsageError."""
        if self.actions == "greedy":
            return None
        explore = default_explore(policy)
        if explore is not None:
            return explore
        why = "without noise, so its actions are always greedy"
        if policy.interface.noise is not None:
            why = "whose ε is no constant of its graph, so a server cannot know it"
        raise UsageError(
            f"--actions sampled: expected a policy that can be sampled, got one {why}; leave --actions out."
        )

    def find_meaning(self, interface: Interface | None) -> Meaning | None:
        """What the policy's numbers stand for, as far as anyone has said it. Raises UsageError."""
        if self.meaning is None:
            return self.source.provenance.meaning
        if interface is not None:
            self.meaning.check(interface)
        return self.meaning.meaning

    def make_guard(self, policy: Reference) -> Guard | None:
        """The guard of the bundle, if the user wants one. Raises UsageError, ExportRefused or EnvironmentFault."""
        if self.guard is None:
            return None
        if self.guard.file is None:
            self.on_step("observing the actions that the guard allows")
        return self.guard.make(policy, self.source, self.environment)


def convert(plan: ExportPlan, folder: Path, version: int) -> Context:
    """Writes the SavedModel and the file of every format."""
    source, environment = plan.source, plan.environment
    is_onnx = isinstance(source, OnnxSource)
    plan.on_step(f"reading {source.title}" if is_onnx else f"baking {source.title} into the SavedModel")
    policy = source.materialize(folder)
    explore = plan.default_explore(policy)
    if environment is not None and source.interface is None:
        environment.check(policy.interface)
    guard = plan.make_guard(policy)
    graphs = _graphs(policy)
    observations, played = _observe(policy, plan)
    lookups = _find_lookups(graphs, policy, observations)
    observations = lookups.fit(observations, plan.observations)
    notes = [*policy.notes, *observations.notes, *lookups.notes]
    if environment is not None and (plan.episodes or played):
        notes += environment.notes(source.provenance)
    evidence = parity.gather(policy, observations.arrays)
    if isinstance(graphs, OnnxGraphs):
        notes += [*graphs.notes, *write_serving_model(graphs, evidence, FLOAT32, folder)]
    _report(plan, notes)
    provenance = source.provenance if environment is None else environment.complete(source.provenance)
    manifest = describe(provenance, policy, observations, notes, plan.policy, version)
    meaning = plan.find_meaning(policy.interface)
    manifest = msgspec.structs.replace(manifest, observation=lookups.specs, explore=explore, meaning=meaning)
    context = Context(folder, policy, manifest, evidence, graphs, guard)
    for wanted in plan.formats:
        plan.on_step(f"converting to {wanted.title}")
        wanted.write(context)
    _report(plan, context.notes)
    return context


def _graphs(policy: Reference) -> OnnxGraphs | SavedPolicy:
    """What the files are made from."""
    if isinstance(policy, OnnxPolicy):
        return OnnxGraphs(policy)
    assert isinstance(policy, SavedPolicy)
    return policy


def _find_lookups(graphs: OnnxGraphs | SavedPolicy, policy: Reference, observations: Observations) -> LookupFindings:
    """The tables are searched for in TensorFlow's graph; a policy without one takes any value."""
    searched = graphs.lowered if isinstance(graphs, OnnxGraphs) else graphs
    if searched is None:
        return LookupFindings(policy.interface.observation)
    return find_lookups(searched, observations)


def _observe(policy: Reference, plan: ExportPlan) -> tuple[Observations, bool]:
    """The observations to compare the files on, and whether the policy was played now to collect them.

    If they can only come from an environment that the user asked for, a failure in it ends the export.
    """
    played = False

    def collect(environment: Environment) -> Arrays:
        nonlocal played
        plan.on_step(f"collecting observations in {environment.name}")
        arrays = collect_observations(policy, environment)
        played = True
        return arrays

    def collect_if_few() -> Arrays | None:
        if plan.source.is_busy or (plan.environment is None and plan.source.provenance.env is None):
            return None
        return collect(plan.environment or Environment.find(plan.source.provenance))

    if plan.environment is not None and plan.source.recorded is None and plan.observations is None:
        return Observations(collect(plan.environment), "visited"), True
    found = Observations.find(policy.interface, plan.observations, plan.source.recorded, collect_if_few)
    return found, played


def describe(
    provenance: Provenance, policy: Reference, observations: Observations, notes: list[str], name: str, version: int
) -> Manifest:
    """The manifest without what is known only at the end: parity, measurements and checksums."""
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=version,
        compared_over=observations.origin,
        observed=observations.ranges(),
        notes=notes,
        versions={tool: package_version(tool) for tool in TOOLS} | {"python": platform.python_version()},
        sampling=policy.sampling,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance._asdict(),
        **tensor_fields(policy.interface),
    )


def _report(plan: ExportPlan, notes: Sequence[str]) -> None:
    for note in notes:
        plan.on_step(f"note: {note}")
