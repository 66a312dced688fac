"""The `action` function of a TF-Agents policy: the nests of tensors that it takes and gives.

In:      a SavedModel of PolicySaver, as TensorFlow restores it.
Out:     `ActionFunction`: the specs over batches; inputs of `action`, neutral except for the observation.
Refuses: a SavedModel without `action`, one whose `action` is not that of a policy (ExportRefused).

All of it is read from the structure of `action`. The function of that name in `signatures` is flat: the names of its
arguments are made from the keys, and differ between versions of TensorFlow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rlway_client.contract.errors import ExportRefused


class ActionFunction(NamedTuple):
    """What `action` takes and gives, as nests of TensorSpecs."""

    function: Any  # `action` itself, traced over any batch
    time_step: Any
    state: Any
    action: Any

    @classmethod
    def of(cls, model: Any, name: str) -> ActionFunction:
        """`name` is the SavedModel's name in messages."""
        functions = getattr(getattr(model, "action", None), "concrete_functions", ())
        if not functions:
            raise ExportRefused(
                f"{name}: has no `action` signature, so it is not a policy; save one with TF-Agents' PolicySaver."
            )
        args, kwargs = functions[0].structured_input_signature
        time_step = kwargs.get("time_step", args[0] if args else None)
        state = kwargs.get("policy_state", args[1] if len(args) > 1 else ())
        answer = functions[0].structured_outputs
        if not hasattr(time_step, "observation"):
            raise ExportRefused(f"{name}: its `action` takes no time step; save it without input_fn_and_spec.")
        if not hasattr(answer, "action"):
            raise ExportRefused(
                f"{name}: its `action` gives no policy step, so it is not a policy's; save one with TF-Agents' "
                f"PolicySaver."
            )
        return cls(functions[0], time_step, state, answer.action)

    def inputs(self, observations: list[Any], step_type: Any, state: list[Any]) -> tuple[Any, Any]:
        """Time step and policy state, from rows of the leaves: reward 0, discount 1."""
        import tensorflow as tf
        from tf_agents.trajectories import TimeStep

        rows = tf.shape(step_type)[0]
        time_step = TimeStep(
            step_type=step_type,
            reward=_filled(self.time_step.reward, rows, 0),
            discount=_filled(self.time_step.discount, rows, 1),
            observation=tf.nest.pack_sequence_as(self.time_step.observation, observations),
        )
        return time_step, tf.nest.pack_sequence_as(self.state, state)

    def call(self, time_step: Any, state: Any) -> Any:
        """The policy step of `action`; calls the trace directly, without TensorFlow's search for one that fits."""
        args, kwargs = self.function.structured_input_signature
        given = {"time_step": time_step, "policy_state": state}
        # Other arguments, such as a seed, stay as traced. A policy without state takes only the time step.
        by_place = [*given.values()][: len(args)]
        by_name = {name: given.get(name, value) for name, value in kwargs.items()}
        return self.function(*by_place, *args[len(given) :], **by_name)


def _filled(nest: Any, rows: Any, value: int) -> Any:
    """Tensors like the nest's, all of one value."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda s: tf.cast(tf.fill([rows, *s.shape[1:]], value), s.dtype), nest)
