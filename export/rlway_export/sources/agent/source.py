"""A folder of checkpoints with its agent's code as the source of an export.

In:      what TF-Agents' common.Checkpointer or tf.train.Checkpoint wrote; which checkpoint; the user's function that
         builds the agent; whether the actions shall be sampled.
Out:     `AgentSource`: the agent's policy with the checkpoint's weights, as PolicySaver saves it.
Refuses: a folder without checkpoints (RunInvalid); whatever the code, the checkpoint and their match refuse.

The greedy policy is exported, or with sampled actions the one that draws: what PolicySavedModelTrigger would save as
`greedy_policy` and as `policy`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rlway_client.common.quote import reason
from rlway_client.contract.errors import ExportRefused, RunInvalid
from rlway_export.common.provenance import Provenance
from rlway_export.reference.graph_policy import GraphPolicy
from rlway_export.reference.policy import loading
from rlway_export.sources.agent.code import AgentCode
from rlway_export.sources.agent.restored import Reader, restore_policy
from rlway_export.sources.checkpoints import bake
from rlway_export.sources.saved_checkpoint import SavedCheckpoint, find_checkpoint, is_checkpoint_folder


class AgentSource(NamedTuple):
    """One checkpoint, and the code of its agent."""

    folder: Path
    saved: SavedCheckpoint
    code: AgentCode
    is_sampled: bool
    checksum: str  # from before it was read: one that is replaced meanwhile counts as another
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: Path, checkpoint: str, code: AgentCode, is_sampled: bool) -> AgentSource:
        """`checkpoint` is `best`, `latest` or a number; `best` is the latest: nothing says which is best."""
        if not is_checkpoint_folder(folder):
            inside = sorted(one for one in (*folder.glob("*"), *folder.glob("*/*")) if is_checkpoint_folder(one))
            raise RunInvalid(
                f"{folder}: has no checkpoints, which --agent is for (ckpt-1.index, …)"
                + (f"; give {inside[0]}." if inside else "; give the folder that has them.")
            )
        saved = find_checkpoint(folder, checkpoint)
        if not saved.is_complete:
            raise RunInvalid(f"{saved.prefix}: is no complete checkpoint: its index or a part of its data is missing.")
        told = f"{folder}: nothing says which checkpoint is the best; taking the latest, {saved.title}."
        return cls.of(saved, code, is_sampled)._replace(folder=folder, notes=(told,) if checkpoint == "best" else ())

    @classmethod
    def of(cls, saved: SavedCheckpoint, code: AgentCode, is_sampled: bool) -> AgentSource:
        """This checkpoint, which is complete."""
        return cls(saved.prefix.parent, saved, code, is_sampled, saved.content())

    @property
    def title(self) -> str:
        return f"checkpoint {self.saved.title}"

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
        facts = {"checkpoint": self.saved.number, "agent": self.code.name, "sha256": self.checksum}
        return Provenance(None, None, None, None, facts)

    def materialize(self, destination: Path) -> GraphPolicy:
        """The policy's SavedModel with the checkpoint's weights."""
        agent = self.code.agent
        policy = _sampling(agent.policy) if self.is_sampled else _greedy(agent.policy)
        refusal = f"{self.saved.prefix}: its policy cannot be loaded"
        with tempfile.TemporaryDirectory(prefix="rlway-agent-") as scratch, loading(refusal):
            _save(agent, policy, self.saved.prefix, Path(scratch), self.code.name)
            bake(Path(scratch), Path(scratch), destination)
            saved = GraphPolicy(destination, str(self.saved.prefix))
        saved.notes = [*self.notes, *saved.notes]
        return saved


def _save(agent: Any, policy: Any, prefix: Path, folder: Path, name: str) -> None:
    """Traces the policy, fills its variables, and writes its SavedModel."""
    import tensorflow as tf
    from tf_agents.policies.policy_saver import PolicySaver

    reader = Reader.open(prefix)
    with _savable(name):
        saver = PolicySaver(policy, train_step=tf.Variable(reader.train_step, dtype=tf.int64))
    restore_policy(agent, policy, reader)
    with _savable(name):
        saver.save(str(folder))


@contextmanager
def _savable(name: str) -> Iterator[None]:
    """A policy may contain any code, which runs while it is traced and saved."""
    try:
        yield
    except Exception as error:
        raise ExportRefused(f"--agent {name}: its policy cannot be saved: {reason(error)}.") from error


def _greedy(policy: Any) -> Any:
    from tf_agents.policies.greedy_policy import GreedyPolicy

    return policy if isinstance(policy, GreedyPolicy) else GreedyPolicy(policy)


def _sampling(policy: Any) -> Any:
    from tf_agents.policies.greedy_policy import GreedyPolicy

    return policy.wrapped_policy if isinstance(policy, GreedyPolicy) else policy
