"""TF-Agents' QRnnNetwork with the preprocessing in front of it, and with differences between observations.

In:      observations [n, …] of one step or [n, length, …] of a sequence; step types; the network's state.
Out:     Q-values [n, (length,) n_actions]; the state after the last step: the LSTM's, the last observation, and 1.

Where there is no observation before, the difference is zero: at a FIRST, and where the state is zeros or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tf_agents.networks.network import Network
from tf_agents.trajectories import StepType

from rlway_train.agents.differences import Differences
from rlway_train.agents.preprocessing import Preprocessing

LAST_OBSERVATION_PARTS = (
    "last_observation",
    "has_last_observation",
)  # parts of the policy state: [obs_dim], and [1]: 1 if there is one


class DifferencesNetwork(Network):  # type: ignore[misc]  # TF-Agents carries no types
    """A recurrent network that also observes differences. All copies share preprocessing and differences."""

    def __init__(
        self,
        make: Callable[[], Any],
        preprocessing: Preprocessing,
        differences: Differences,
        input_tensor_spec: Any,
        name: str | None = None,
    ) -> None:
        """`make` makes the network behind it, whose inputs are observations and their differences."""
        inner = make()
        obs_dim = inner.input_tensor_spec.shape[0] // 2
        last = [
            tf.TensorSpec([n], tf.float32, part) for part, n in zip(LAST_OBSERVATION_PARTS, (obs_dim, 1), strict=True)
        ]
        super().__init__(input_tensor_spec=input_tensor_spec, state_spec=[*inner.state_spec, *last], name=name)
        self._inner, self._preprocessing, self._differences = inner, preprocessing, differences

    def call(self, inputs: Any, step_type: Any, network_state: Any = (), training: bool = False) -> Any:
        vectors = self._preprocessing.pack(inputs)
        is_step = vectors.shape.rank == 2
        if is_step:
            vectors, step_type = vectors[:, None], step_type[:, None]
        ones = tf.ones_like(vectors[..., :1])
        none = [tf.zeros_like(vectors[:, 0]), tf.zeros_like(ones[:, 0])]
        *state, last, observed = network_state or none
        before = tf.concat((last[:, None], vectors[:, :-1]), axis=1)
        observed = tf.concat((observed[:, None], ones[:, 1:]), axis=1)
        differences = self._differences(vectors, before, observed, begins=(step_type == StepType.FIRST)[..., None])
        inputs = tf.concat((self._preprocessing.scale(vectors), differences), axis=-1)
        q_values, state = self._inner(inputs, step_type=step_type, network_state=state or (), training=training)
        return q_values[:, 0] if is_step else q_values, [*state, vectors[:, -1], ones[:, -1]]
