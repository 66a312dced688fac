"""Preprocessing of observations, within the policy's own graph: packing into one vector, and normalising.

In:      an observation as the environment gives it: an array of any shape, or a dict of arrays. A tuple is a dict with
         the keys 0, 1, ….
Out:     one vector float32[…, obs_dim]; with `normalize`, normalised by the mean and variance of all observations.

    normalized = clip((observation − mean) / √(variance + ε), −10, 10)

Mean and variance run over every step that was collected (Chan, Golub & LeVeque, "Updating formulae and a pairwise
algorithm for computing sample variances", 1979). They are variables of the policy, so every copy of it, exported ones
included, normalises in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.networks.network import Network

from rlway_client.contract.specs import FloatArray, TensorSpec
from rlway_train.envs.spaces import is_one_vector
from rlway_train.policies.numpy import FURTHEST, TINIEST_VARIANCE


class Preprocessing(tf.Module):  # type: ignore[misc]  # TensorFlow carries no types
    """Packs observations into vectors and, with `normalize`, normalises them."""

    def __init__(self, specs: list[TensorSpec], normalize: bool) -> None:
        super().__init__(name="perception")
        self._specs, self._packs = specs, not is_one_vector(specs)
        obs_dim = sum(spec.size for spec in specs)
        self.normalize = normalize
        if normalize:
            self._count = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="observed")
            self._mean = tf.Variable(tf.zeros([obs_dim]), trainable=False, name="observation_mean")
            self._variance = tf.Variable(tf.ones([obs_dim]), trainable=False, name="observation_variance")

    @property
    def is_plain(self) -> bool:
        """Whether observations stay as they are."""
        return not self.normalize and not self._packs

    @property
    def spec(self) -> Any:
        """The observation as TensorFlow specs: one spec, or a dict of them."""
        return self._nest([tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in self._specs])

    def batched_spec(self) -> Any:
        """`spec` for any number of rows."""
        return tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape], spec.dtype, spec.name), self.spec)

    def weights(self) -> list[FloatArray]:
        """Mean and variance, for policies in numpy; empty where nothing is normalised."""
        return [self._mean.numpy(), self._variance.numpy()] if self.normalize else []

    def observe(self, observations: FloatArray) -> None:  # [n, obs_dim]
        """Updates mean and variance. Only for preprocessing that normalises."""
        n = len(observations)
        if not n:
            return
        before = float(self._count.numpy())
        rows = observations.astype(np.float64)
        delta = rows.mean(axis=0) - self._mean.numpy()
        total = before + n
        squares = rows.var(axis=0) * n + self._variance.numpy() * before + delta**2 * before * n / total
        self._mean.assign_add((delta * n / total).astype(np.float32))
        self._variance.assign((squares / total).astype(np.float32))
        self._count.assign(total)

    def unpack(self, vectors: Any) -> Any:  # [n, (length,) obs_dim] -> the observation, with arrays [n, (length,) …]
        """The observation that was packed into a vector."""
        if not self._packs:
            return vectors
        parts = tf.split(vectors, [spec.size for spec in self._specs], axis=-1)
        length = vectors.shape[1:-1]
        shaped = [tf.reshape(part, [-1, *length, *s.shape]) for part, s in zip(parts, self._specs, strict=True)]
        return self._nest([tf.cast(part, spec.dtype) for part, spec in zip(shaped, self._specs, strict=True)])

    def __call__(self, observation: Any) -> Any:  # -> [n, (length,) obs_dim]
        return self.scale(self.pack(observation))

    def pack(self, observation: Any) -> Any:  # -> [n, (length,) obs_dim]
        """The observation as a vector."""
        if not self._packs:
            return observation
        parts = tf.nest.flatten(observation)
        length = parts[0].shape[1 : parts[0].shape.rank - len(self._specs[0].shape)]
        flat = [tf.reshape(part, [-1, *length, s.size]) for part, s in zip(parts, self._specs, strict=True)]
        return tf.concat([tf.cast(part, tf.float32) for part in flat], axis=-1)

    def scale(self, vectors: Any) -> Any:  # [n, (length,) obs_dim]
        """The vectors, normalised if observations are."""
        if not self.normalize:
            return vectors
        normalized = (vectors - self._mean) * tf.math.rsqrt(self._variance + TINIEST_VARIANCE)
        return tf.clip_by_value(normalized, -FURTHEST, FURTHEST)

    def _nest(self, parts: list[Any]) -> Any:
        """The tensors in nested dicts, by their paths; a tensor without a path by itself."""
        if not self._specs[0].path:
            return parts[0]
        root: dict[str, Any] = {}
        for spec, part in zip(self._specs, parts, strict=True):
            node = root
            for key in spec.path[:-1]:
                node = node.setdefault(key, {})
            node[spec.path[-1]] = part
        return root


class PreprocessedNetwork(Network):  # type: ignore[misc]
    """A network with the preprocessing in front of it. All copies of the network share the preprocessing."""

    def __init__(
        self, make: Callable[[], Any], preprocessing: Preprocessing, input_tensor_spec: Any, name: str | None = None
    ) -> None:
        """`make` makes the network. It is called once for this network and once for each copy."""
        inner = make()
        super().__init__(input_tensor_spec=input_tensor_spec, state_spec=inner.state_spec, name=name)
        self._inner = inner
        self._preprocessing = preprocessing

    def call(self, inputs: Any, step_type: Any = (), network_state: Any = (), training: bool = False) -> Any:
        preprocess = self._preprocessing
        is_critic = isinstance(inputs, tuple)  # of observation and action
        prepared = (preprocess(inputs[0]), *inputs[1:]) if is_critic else preprocess(inputs)
        return self._inner(prepared, step_type=step_type, network_state=network_state, training=training)
