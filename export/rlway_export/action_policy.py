"""A SavedModel of TF-Agents' PolicySaver as a policy of one step: its `action` behind a time step that says nothing.

In:      a SavedModel with `action(time_step, policy_state)`.
Out:     `ActionPolicy`: (observation…[, state…, reset]) → action[, next_state…]. There is no noise: it is greedy only.
Refuses: a SavedModel without such a function, a fixed batch, tensors of unknown size, an action in several parts, a
         policy that draws its actions (ExportRefused, with the remedy).

The time step has reward 0 and discount 1, and is in the midst of an episode; where `reset` is true it is the first one,
at which TF-Agents' policies forget what they remember.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from rlway_client.errors import ExportRefused
from rlway_client.interface import NEXT, Interface
from rlway_client.specs import DTYPES, TensorSpec, make_spec
from rlway_export.saved_policy import SavedPolicy, load

SPECS = "policy_specs.pbtxt"
# RandomStandardNormal, StatelessRandomUniformV2, StatelessMultinomial, ParameterizedTruncatedNormal, …
DRAWS = re.compile(r"(Stateless)?(Parameterized)?(Random|Multinomial|TruncatedNormal)|Stateful(StandardNormal|Uniform)")
UNTRAINED = 0  # the train step of what PolicySavedModelTrigger saves when it is made; −1 is that of no training


class Step(NamedTuple):
    """What `action` takes and gives, as nests of TensorSpecs."""

    time_step: Any
    state: Any
    action: Any


class ActionPolicy(SavedPolicy):
    """Loads on construction; `name` is what messages call it."""

    def __init__(self, saved_model: Path, name: str) -> None:
        self._name = name
        self._loaded = load(saved_model)
        self._step = self._find_step()
        self.notes = []
        observation, action = self._bounded(saved_model / SPECS)
        self.interface = Interface(
            observation=self._specs("observation", self._step.time_step.observation, observation),
            action=replace(self._specs("action", self._step.action, action)[0], name="action", path=()),
            noise=None,
            state=self._specs("state", self._step.state, self._step.state),
            outputs=[],
        )
        self._refuse_draws()
        self._note_train_step()

    @property
    def _model(self) -> Any:
        return self._loaded

    def _act(self, *inputs: Any) -> dict[str, Any]:
        import tensorflow as tf
        from tf_agents.trajectories import StepType, TimeStep

        spec, state, _ = self._step
        n_observed = len(self.interface.observation)
        rows = tf.shape(inputs[0])[0]
        step_type = tf.fill([rows], StepType.MID)
        remembered = state
        if self.interface.state:
            step_type = tf.where(inputs[-1], StepType.FIRST, StepType.MID)
            remembered = tf.nest.pack_sequence_as(state, inputs[n_observed:-1])
        time_step = TimeStep(
            step_type=step_type,
            reward=_filled(spec.reward, rows, 0),
            discount=_filled(spec.discount, rows, 1),
            observation=tf.nest.pack_sequence_as(spec.observation, inputs[:n_observed]),
        )
        answer = self._loaded.action(time_step, remembered)
        after = zip(self.interface.state, tf.nest.flatten(answer.state), strict=True)
        return {"action": tf.nest.flatten(answer.action)[0], **{NEXT + spec.name: value for spec, value in after}}

    def _find_step(self) -> Step:
        """From the signature of `action`, which keeps its nests; the flat one in `signatures` does not."""
        import tensorflow as tf

        functions = getattr(getattr(self._loaded, "action", None), "concrete_functions", ())
        if not functions:
            raise ExportRefused(
                f"{self._name}: has no `action` signature, so it is not a policy; save one with TF-Agents' PolicySaver."
            )
        args, kwargs = functions[0].structured_input_signature
        time_step = kwargs.get("time_step", args[0] if args else None)
        state = kwargs.get("policy_state", args[1] if len(args) > 1 else ())
        if not hasattr(time_step, "observation"):
            raise ExportRefused(f"{self._name}: its `action` takes no time step; save it without input_fn_and_spec.")
        step = Step(time_step, state, functions[0].structured_outputs.action)
        for spec in tf.nest.flatten(tuple(step)):
            self._check(spec)
        if len(tf.nest.flatten(step.action)) != 1:
            raise ExportRefused(f"{self._name}: its action has several parts; only one array can be exported.")
        return step

    def _check(self, spec: Any) -> None:
        shape = spec.shape.as_list() if spec.shape.rank else [None]
        if None in shape[1:]:
            raise ExportRefused(f"{self._name}: {spec.name} has no known shape ({spec.shape}).")
        if shape[0] is not None:
            raise ExportRefused(
                f"{self._name}: takes {shape[0]} rows at once and no other number; save it with batch_size=None."
            )
        if spec.dtype.name not in DTYPES:
            raise ExportRefused(f"{self._name}: {spec.name} is of {spec.dtype.name}; only numbers can be exported.")

    def _bounded(self, path: Path) -> tuple[Any, Any]:
        """Observation and action with their bounds, which the SavedModel has lost and the file beside it may have."""
        from tf_agents.specs import tensor_spec

        try:
            trajectory = tensor_spec.from_pbtxt_file(str(path))["collect_data_spec"]
            return trajectory.observation, trajectory.action
        except Exception:  # not there, or not what this version of TF-Agents writes
            self.notes.append(f"{self._name}: its {SPECS} cannot be read, so the bounds of its tensors are not known.")
            return self._step.time_step.observation, self._step.action

    def _specs(self, title: str, nest: Any, bounded: Any) -> list[TensorSpec]:
        """The leaves of a nest over batches, in TensorFlow's order, with the bounds of another nest like it."""
        import tensorflow as tf
        from tf_agents.utils.nest_utils import flatten_with_joined_paths

        specs: list[TensorSpec] = []
        leaves = flatten_with_joined_paths(nest)
        for (joined, leaf), bounds in zip(leaves, tf.nest.flatten(bounded), strict=True):
            path = tuple(joined.split("/")) if joined else ()
            name = re.sub(r"\W", "_", "_".join((title, *path)))
            while any(spec.name == name for spec in specs):
                name += "_"
            low, high = getattr(bounds, "minimum", -float("inf")), getattr(bounds, "maximum", float("inf"))
            shape = tuple(leaf.shape[1:])
            specs.append(make_spec(name, shape, leaf.dtype.name, low, high, path))
        return specs

    def _refuse_draws(self) -> None:
        nodes = self.frozen().graph.as_graph_def().node
        draws = next((node for node in nodes if DRAWS.match(node.op)), None)
        if draws is not None:
            raise ExportRefused(
                f"{self._name}: draws its actions ({draws.op} in {draws.name}), so no two files of it would act alike; "
                f"save GreedyPolicy(policy) with PolicySaver, or take the trigger's greedy_policy."
            )

    def _note_train_step(self) -> None:
        step = getattr(self._loaded, "train_step", None)
        if step is not None and int(step.numpy()) == UNTRAINED:
            self.notes.append(
                f"{self._name}: its train step is 0: these are the weights of before the training; later ones lie in "
                f"the trigger's checkpoints."
            )


def _filled(nest: Any, rows: Any, value: int) -> Any:
    """Tensors like the nest's, all of one value."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda s: tf.cast(tf.fill([rows, *s.shape[1:]], value), s.dtype), nest)
