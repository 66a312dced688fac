"""What TF-Agents itself writes, a folder of PolicySavedModelTrigger or one SavedModel; any other SavedModel, too.

In:      the folder, or one of the trigger's SavedModels; which checkpoint; what the user says of the tensors of a
         SavedModel that does not say it by an `action`.
Out:     a SavedModel with the checkpoint's weights baked in, and its `action`.
Refuses: a folder that holds neither (RunInvalid); a checkpoint where there is none (UsageError); untrained weights,
         unless they were asked for (ExportRefused).

    policies/
      greedy_policy/  policy/  collect_policy/     graphs, with the weights at the time the trigger was made
      checkpoints/policy_checkpoint_%010d/         weights

Of a trigger's folder the greedy policy is exported. The others, which draw their actions, are exported where they are
named themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rlway_client.contract.bundle import Bundle
from rlway_client.contract.errors import ExportRefused, RunInvalid, UsageError
from rlway_client.contract.run import read_job, read_run
from rlway_client.contract.specs import TensorSpec
from rlway_export.common.provenance import Provenance
from rlway_export.graphs.named_function import NamedFunction, has_action, signatures
from rlway_export.graphs.saved_model import read_meta
from rlway_export.reference.graph_policy import UNTRAINED, GraphPolicy
from rlway_export.reference.policy import loading
from rlway_export.reference.tensor_policy import TensorPolicy
from rlway_export.sources.base import SAVED_MODEL
from rlway_export.sources.checkpoints import bake, checkpoint_numbers, checkpoint_path, parse_checkpoint, train_step
from rlway_export.sources.kinds import CHECKPOINTS, COLLECTING, GRAPHS, graph_of, is_bundle, is_run, is_saved_model
from rlway_export.sources.named_policy import named_policy
from rlway_export.sources.tensor_options import NOTHING_SAID, TensorOptions

SAYS_ITSELF = "{}: {} says itself what its tensors are; leave it out."
INITIAL = "initial"  # `--checkpoint initial`: the weights that the trigger's SavedModel was saved with


class SavedModelSource(NamedTuple):
    """A graph, and the number of the checkpoint whose weights it gets; None for the graph's own."""

    folder: Path
    graph: Path
    checkpoint: int | None
    notes: tuple[str, ...] = ()
    takes_untrained: bool = False  # whether the user asked for exactly these weights
    options: TensorOptions = NOTHING_SAID  # of a SavedModel without `action`

    @classmethod
    def open(cls, folder: Path, checkpoint: str, options: TensorOptions = NOTHING_SAID) -> SavedModelSource:
        """`checkpoint` is `best`, `latest`, `initial` or a number; `best` is the latest: nothing says which is best."""
        graph = folder if is_saved_model(folder) else graph_of(folder)
        if graph is None:
            raise RunInvalid(
                f"{folder}: expected a folder of PolicySavedModelTrigger (greedy_policy/) or a SavedModel "
                f"({SAVED_MODEL}), got neither."
            )
        trigger = _trigger_of(folder) if graph == folder else folder
        if trigger is None:
            if checkpoint not in ("best", "latest", INITIAL):
                raise UsageError(f"{folder}: is one SavedModel without checkpoints; leave out --checkpoint.")
            return cls(folder, graph, None, (), checkpoint == INITIAL, options)
        if options.given:
            raise UsageError(SAYS_ITSELF.format(" and ".join(options.given), trigger))
        return cls._at(trigger, graph, checkpoint)

    @classmethod
    def _at(cls, trigger: Path, graph: Path, checkpoint: str) -> SavedModelSource:
        """One checkpoint in a trigger's folder."""
        numbers, notes = checkpoint_numbers(trigger / CHECKPOINTS), _note_run(trigger)
        if checkpoint == INITIAL:
            return cls(trigger, graph, None, notes, takes_untrained=True)
        if checkpoint not in ("best", "latest"):
            number = parse_checkpoint(checkpoint, f"best, latest, {INITIAL}")
            checkpoint_path(trigger / CHECKPOINTS, number)
            return cls(trigger, graph, number, notes, takes_untrained=True)
        if not numbers:
            own = f"{trigger}: has no checkpoints; taking the weights of {graph.name}."
            return cls(trigger, graph, None, (*notes, own))
        if checkpoint == "best":
            notes = (*notes, f"{trigger}: nothing says which checkpoint is the best; taking the latest, {numbers[-1]}.")
        return cls(trigger, graph, numbers[-1], notes)

    @property
    def title(self) -> str:
        return f"the weights of {self.graph.name}" if self.checkpoint is None else f"checkpoint {self.checkpoint}"

    @property
    def recorded(self) -> None:
        return None

    @property
    def is_busy(self) -> bool:
        return False

    @property
    def interface(self) -> None:
        return None

    @property
    def provenance(self) -> Provenance:
        return Provenance(None, None, None, None, {"checkpoint": self.checkpoint})

    def materialize(self, destination: Path) -> GraphPolicy | TensorPolicy:
        """The graph with its own weights, or with the checkpoint's."""
        weights, name = self.graph, str(self.graph)
        if self.checkpoint is not None:
            weights = checkpoint_path(self.folder / CHECKPOINTS, self.checkpoint)
            name = f"{weights} in {self.graph.name}"
        if not self.takes_untrained and train_step(weights) == UNTRAINED:
            raise ExportRefused(
                f"{weights}: its train step is 0: these are the weights of before the training; give the folder whose "
                f"{CHECKPOINTS}/ has later ones, or --checkpoint {INITIAL} to export these; to write some, end the "
                f"training with trigger(train_step, force_trigger=True)."
            )
        with loading(f"{name}: cannot be loaded"):
            bake(self.graph, weights, destination)
            policy = self._policy(destination, name)
        self._check_action(policy)
        policy.notes = [*self.notes, *policy.notes]
        return policy

    def _policy(self, folder: Path, name: str) -> GraphPolicy | TensorPolicy:
        """Its `action`, or else the signature for serving, of which the user says what its tensors are."""
        meta = read_meta(folder, name)
        if not has_action(meta) and signatures(meta):
            return named_policy(NamedFunction.of_signature(folder, meta, name), self.graph, self.options, name)
        if self.options.given and has_action(meta):
            raise UsageError(SAYS_ITSELF.format(" and ".join(self.options.given), name))
        return GraphPolicy(folder, name)

    def _check_action(self, policy: GraphPolicy | TensorPolicy) -> None:
        """TF-Agents' graphs count actions from 0, in at most one dimension; the run's environment may differ."""
        trained, found = _trained_action(self.folder), policy.interface.actions[0]
        if trained is None:
            return
        (least, _), (lowest, _) = trained.bounds(), found.bounds()
        if trained.shape != found.shape or (least != lowest).any():
            raise ExportRefused(
                f"{self.graph}: gives other actions than its environment takes: expected {trained.label} from "
                f"{least.min():g}, got {found.label} from {lowest.min():g}; export the run itself once it has ended."
            )


def _trained_action(folder: Path) -> TensorSpec | None:
    """The action of the run or the bundle that this SavedModel belongs to; None where it belongs to neither."""
    run = folder.resolve().parent
    if is_run(run):
        job = read_run(run) if (run / "run.json").is_file() else read_job(run)
        return job.action if job is not None else None
    return Bundle.open(folder, verify=False).manifest.actions[0] if is_bundle(folder) else None


def _trigger_of(graph: Path) -> Path | None:
    """The folder of the trigger that wrote this SavedModel; None where no trigger did."""
    actual = graph.resolve()  # `.` and links do not have the real name
    trigger = graph.parent if graph.name == actual.name else actual.parent
    siblings = {COLLECTING, *GRAPHS} - {actual.name}
    if actual.name not in (*GRAPHS, COLLECTING):
        return None
    beside = checkpoint_numbers(trigger / CHECKPOINTS) or any(is_saved_model(trigger / name) for name in siblings)
    return trigger if beside else None


def _note_run(trigger: Path) -> tuple[str, ...]:
    """For a trigger's folder within a run of `rlway train`: the run itself could be exported."""
    run = trigger.resolve().parent
    if not is_run(run):
        return ()
    return (f"{trigger}: belongs to the run {run.name}, whose own export has noise, and tells of the training.",)
