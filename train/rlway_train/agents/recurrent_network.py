"""TF-Agents' QRnnNetwork with the preprocessing in front of it, and with differences between observations.

In:      observations [n, …] of one step or [n, length, …] of a sequence; step types; the network's state.
Out:     Q-values [n, (length,) n_actions]; the state after the last step: the LSTM's, and the last observation.

At a FIRST, the difference is zero, as there is no observation before. So it is where a sequence comes without a state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tf_agents.networks.network import Network
from tf_agents.trajectories import StepType

from rlway_train.agents.differences import Differences
from rlway_train.agents.preprocessing import Preprocessing


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
        last = tf.TensorSpec([inner.input_tensor_spec.shape[0] // 2], tf.float32, "last_observation")
        super().__init__(input_tensor_spec=input_tensor_spec, state_spec=[*inner.state_spec, last], name=name)
        self._inner, self._preprocessing, self._differences = inner, preprocessing, differences

    def call(self, inputs: Any, step_type: Any, network_state: Any = (), training: bool = False) -> Any:
        vectors = self._preprocessing.pack(inputs)
        is_step = vectors.shape.rank == 2
        if is_step:
            vectors, step_type = vectors[:, None], step_type[:, None]
        state, last = (list(network_state[:-1]), network_state[-1]) if network_state else ((), vectors[:, 0])
        before = tf.concat((last[:, None], vectors[:, :-1]), axis=1)
        before = tf.where((step_type == StepType.FIRST)[..., None], vectors, before)
        observed = tf.concat((self._preprocessing.scale(vectors), self._differences(vectors, before)), axis=-1)
        q_values, state = self._inner(observed, step_type=step_type, network_state=state, training=training)
        return q_values[:, 0] if is_step else q_values, [*state, vectors[:, -1]]
