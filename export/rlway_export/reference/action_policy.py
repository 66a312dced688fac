"""A SavedModel of TF-Agents' PolicySaver as a policy: its `action`, called with a neutral time step.

In:      a SavedModel with `action(time_step, policy_state)`.
Out:     `ActionPolicy`: (observation…[, state…, reset]) → action[, next_state…]. There is no noise: it is greedy only.
Refuses: a SavedModel without such a function, a fixed batch, tensors of unknown size, an action in several parts, a
         policy that samples its actions (ExportRefused, with the remedy).

The time step has reward 0 and discount 1, and is one within an episode. Where `reset` is true it is the first step of
an episode, at which TF-Agents' policies reset their state.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import NEXT, Interface
from rlway_client.contract.specs import DTYPES, TensorSpec, make_spec
from rlway_export.reference.action_function import ActionFunction
from rlway_export.reference.nest import leaves, names
from rlway_export.reference.policy import SavedPolicy, load

SPECS = "policy_specs.pbtxt"
# RandomStandardNormal, StatelessRandomUniformV2, StatelessMultinomial, ParameterizedTruncatedNormal, …
DRAWS = re.compile(r"(Stateless)?(Parameterized)?(Random|Multinomial|TruncatedNormal)|Stateful(StandardNormal|Uniform)")
UNTRAINED = 0  # the train step that PolicySavedModelTrigger saves when it is made; −1 means that nobody counted


class ActionPolicy(SavedPolicy):
    """Loads on construction. `name` is its name in messages."""

    def __init__(self, saved_model: Path, name: str) -> None:
        self._name = name
        self._loaded = load(saved_model)
        self._action = ActionFunction.of(self._loaded, name)
        self._check()
        self.notes = []
        observation, action = self._bounded(saved_model / SPECS)
        self.interface = Interface(
            observation=self._specs("observation", self._action.time_step.observation, observation),
            actions=[replace(self._specs("action", self._action.action, action)[0], name="action", path=())],
            noise=None,
            state=self._specs("state", self._action.state, self._action.state),
            outputs=[],
        )
        self._refuse_sampling()
        self._note_train_step()

    @property
    def _model(self) -> Any:
        return self._loaded

    def _act(self, *inputs: Any) -> dict[str, Any]:
        import tensorflow as tf
        from tf_agents.trajectories import StepType

        n_observed = len(self.interface.observation)
        step_type, state = tf.fill([tf.shape(inputs[0])[0]], StepType.MID), []
        if self.interface.state:
            step_type, state = tf.where(inputs[-1], StepType.FIRST, StepType.MID), list(inputs[n_observed:-1])
        answer = self._action.call(*self._action.inputs(list(inputs[:n_observed]), step_type, state))
        after = zip(self.interface.state, tf.nest.flatten(answer.state), strict=True)
        return {"action": tf.nest.flatten(answer.action)[0], **{NEXT + spec.name: value for spec, value in after}}

    def _check(self) -> None:
        nests = {**self._action.time_step._asdict(), "state": self._action.state, "action": self._action.action}
        for path, leaf in leaves(nests):
            self._check_leaf(short_name("/".join(path)), leaf)
        if not leaves(self._action.time_step.observation):
            raise ExportRefused(f"{self._name}: observes nothing; only a policy of one array or more can be exported.")
        if len(leaves(self._action.action)) != 1:
            raise ExportRefused(f"{self._name}: its action has several parts; only one array can be exported.")

    def _check_leaf(self, title: str, leaf: Any) -> None:
        shape = leaf.shape.as_list() if leaf.shape.rank else [None]
        if None in shape[1:]:
            raise ExportRefused(f"{self._name}: {title} has no known shape ({leaf.shape}).")
        if shape[0] is not None:
            raise ExportRefused(
                f"{self._name}: takes {shape[0]} rows at once and no other number; save it with batch_size=None."
            )
        if leaf.dtype.name not in DTYPES:
            raise ExportRefused(f"{self._name}: {title} is of {leaf.dtype.name}; only numbers can be exported.")

    def _bounded(self, path: Path) -> tuple[Any, Any]:
        """Observation and action with their bounds, which only the file beside the SavedModel may have."""
        from tf_agents.specs import tensor_spec

        try:
            trajectory = tensor_spec.from_pbtxt_file(str(path))["collect_data_spec"]
            return trajectory.observation, trajectory.action
        except Exception:  # missing, or not written by this version of TF-Agents
            self.notes.append(f"{self._name}: its {SPECS} cannot be read, so the bounds of its tensors are not known.")
            return self._action.time_step.observation, self._action.action

    def _specs(self, title: str, nest: Any, bounded: Any) -> list[TensorSpec]:
        """The leaves of a nest over batches, in TensorFlow's order, with the bounds from the nest `bounded`."""
        import tensorflow as tf

        found, specs = leaves(nest), []
        titles = names(title, [path for path, _ in found])
        for name, (path, leaf), bounds in zip(titles, found, tf.nest.flatten(bounded), strict=True):
            low, high = getattr(bounds, "minimum", -float("inf")), getattr(bounds, "maximum", float("inf"))
            specs.append(make_spec(name, tuple(leaf.shape[1:]), leaf.dtype.name, low, high, path))
        return specs

    def _refuse_sampling(self) -> None:
        nodes = self.frozen().graph.as_graph_def().node
        sampler = next((node for node in nodes if DRAWS.match(node.op)), None)
        if sampler is not None:
            raise ExportRefused(
                f"{self._name}: draws its actions ({sampler.op} in {short_name(sampler.name)}), so no two files of it "
                f"would act alike; save GreedyPolicy(policy) with PolicySaver, or take the trigger's greedy_policy."
            )

    def _note_train_step(self) -> None:
        step = getattr(self._loaded, "train_step", None)
        if step is not None and int(step.numpy()) == UNTRAINED:
            self.notes.append(
                f"{self._name}: its train step is 0: these are the weights of before the training; later ones lie in "
                f"the trigger's checkpoints."
            )
