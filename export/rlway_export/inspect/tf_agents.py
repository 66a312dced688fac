"""The report on what TF-Agents wrote: one SavedModel, or a trigger's folder of several with their checkpoints.

In:      a path, and the folder that it means.
Out:     `Report`.
Refuses: a damaged message (RunInvalid).
"""

from __future__ import annotations

from pathlib import Path

from rlway_export.inspect.agent import Agent, recognise_agent
from rlway_export.inspect.file_time import file_time
from rlway_export.inspect.flags import signature_flags
from rlway_export.inspect.memory import memory, onnx_weights
from rlway_export.inspect.message import MessageFacts
from rlway_export.inspect.report import Checkpoints, Kind, PolicyFolder, Report, Written
from rlway_export.inspect.trial import Trial
from rlway_export.sources.base import SAVED_MODEL
from rlway_export.sources.checkpoints import checkpoint_numbers, checkpoint_path, train_step
from rlway_export.sources.kinds import CHECKPOINTS, COLLECTING, GRAPHS, graph_of, is_saved_model
from rlway_export.sources.tf_agents import SavedModelSource


def saved_model_report(path: Path, folder: Path) -> Report:
    """One SavedModel; its weights are those of a checkpoint, if a trigger wrote it."""
    return _report(path, folder, "SavedModel", "a SavedModel", [])


def trigger_report(path: Path, folder: Path) -> Report:
    """A trigger's folder: the SavedModel that an export takes, and the others' names."""
    graph = graph_of(folder)
    assert graph is not None
    return _report(path, graph, "trigger", "a folder of PolicySavedModelTrigger", policy_folders(folder))


def policy_folders(folder: Path) -> list[PolicyFolder]:
    """The SavedModels that a trigger wrote."""
    exported = graph_of(folder)
    found = [folder / name for name in (*GRAPHS, COLLECTING) if is_saved_model(folder / name)]
    return [PolicyFolder(one.name, MessageFacts.read(one).draws, one == exported) for one in found]


def written(graph: Path, facts: MessageFacts) -> Written:
    """Who wrote a graph, and when."""
    agent = agent_of(graph)
    return Written(
        by=facts.writer,
        version=f"TensorFlow {facts.tensorflow}" if facts.tensorflow else None,
        file_time=file_time(graph / SAVED_MODEL),
        agent=agent.name if agent else None,
        agent_seen=agent.seen if agent else None,
    )


def agent_of(graph: Path) -> Agent | None:
    """By the names in the graph and, if a trigger wrote it, in those beside it: a collect policy tells more."""
    beside = [graph.parent / name for name in (*GRAPHS, COLLECTING)] if graph.name in GRAPHS else []
    graphs = {graph, *(one for one in beside if is_saved_model(one))}
    return recognise_agent({name for one in graphs for name in MessageFacts.read(one).names})


def _report(path: Path, graph: Path, kind: Kind, title: str, policies: list[PolicyFolder]) -> Report:
    facts = MessageFacts.read(graph)
    served = facts.served
    trial = Trial.of(path)
    source = trial.source if isinstance(trial.source, SavedModelSource) else None
    return Report(
        path=str(path),
        kind=kind,
        title=title,
        written=written(graph, facts),
        train_step=_train_step(graph, source),
        checkpoints=_checkpoints(source),
        policies=policies,
        signatures=facts.signatures,
        policy=trial.policy,
        saved_rows=facts.fixed_rows,
        exported_rows=trial.rows,
        memory=memory(facts.weights or onnx_weights(trial.model), trial.model),
        export=trial.export(path, signature_flags(served, path) if served else ()),
    )


def _checkpoints(source: SavedModelSource | None) -> Checkpoints | None:
    numbers = [] if source is None else checkpoint_numbers(source.folder / CHECKPOINTS)
    return Checkpoints(numbers, source.checkpoint) if source is not None and numbers else None


def _train_step(graph: Path, source: SavedModelSource | None) -> int | None:
    if source is None or source.checkpoint is None:
        return train_step(graph)
    return train_step(checkpoint_path(source.folder / CHECKPOINTS, source.checkpoint))
