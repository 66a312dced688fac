"""TF-Agents' DQN over images.

In:      rows of bytes, see rlway_train.collect.transition.ImageColumns.
Out:     the Q-network's weights in numpy; `act`: argmax(q_values + noise) of images as the environment gives them.

The network is TF-Agents' QNetwork with convolutions. In front of it, and so within each exported file, bytes are scaled
to 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.networks.q_network import QNetwork
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, Transition

from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_train.agents.dqn import DqnLearner
from rlway_train.agents.preprocessing import Preprocessing
from rlway_train.collect.transition import DISCOUNT, REWARD, ImageColumns
from rlway_train.config.convolutions import Network, network_for
from rlway_train.config.settings import DqnSettings
from rlway_train.envs.domain import Domain
from rlway_train.envs.spaces import brightest, image_shape
from rlway_train.policies.convolutional import GreedyConvPolicy, greedy_conv_policy
from rlway_train.replay.frames import FrameReplay, FrameStacks


class ImagePreprocessing(Preprocessing):
    """Scales images of bytes to 0 to 1, and gives one without channels its one channel."""

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__([spec], normalize=False)
        self.shape = image_shape(spec)
        self._image, self._scale = spec, 1 / brightest(spec)

    def unpack(self, vectors: Any) -> Any:  # uint8[n, obs_dim] -> [n, height, width, (channels)]
        return tf.cast(tf.reshape(vectors, [-1, *self._image.shape]), self._image.dtype)

    def __call__(self, observation: Any) -> Any:  # -> float32[n, height, width, channels]
        image = tf.cast(observation, tf.float32)
        if len(self._image.shape) < len(self.shape):
            image = tf.reshape(image, [-1, *self.shape])
        return image if self._scale == 1 else image * self._scale


class ConvDqnLearner(DqnLearner):
    """Learns a network of convolutions from transitions between images."""

    replay: FrameReplay

    def __init__(self, settings: DqnSettings, domain: Domain, seed: int, replay: FrameReplay) -> None:
        height, width, _ = image_shape(*domain.leaves)
        self._layers: Network = network_for(settings, height, width)
        super().__init__(settings, domain, seed, replay)

    def _make_preprocessing(self, domain: Domain) -> ImagePreprocessing:
        return ImagePreprocessing(*domain.leaves)

    @cached_property
    def columns(self) -> ImageColumns:
        return ImageColumns(self.obs_dim, self.action_dim)

    def _make_network(self, observation: Any, action: Any) -> QNetwork:  # noqa: ARG002
        shape = image_shape(*self._domain.leaves)
        return QNetwork(
            tf.TensorSpec(shape, tf.float32, "observation"),
            action,
            conv_layer_params=self._layers.convolutions,
            fc_layer_params=self._layers.hidden,
        )

    def policy(self, weights: list[FloatArray] | None = None) -> GreedyConvPolicy:  # type: ignore[override]
        return greedy_conv_policy(self.weights() if weights is None else weights, self.settings, self._domain)

    def _make_learn(self) -> FrameUpdates:
        return FrameUpdates(self.replay, self._sample_and_update)

    def _sample_and_update(self, seed: Any) -> Any:
        """A block of updates, within a graph."""
        settings = self.settings
        return self._update(self.replay.sample((settings.block_iterations, settings.batch_size), seed))

    def _transition(self, rows: Any) -> Transition:  # of frames and numbers, see FrameReplay.sample
        frames, numbers = rows
        middle = tf.fill([frames.shape[0]], StepType.MID)
        observation, successor = (self.preprocessing.unpack(image) for image in self.replay.images(frames))
        action, reward, discount = numbers[:, 0], numbers[:, REWARD], numbers[:, DISCOUNT]
        return Transition(
            TimeStep(middle, reward, discount, observation),
            PolicyStep(tf.cast(action, tf.int64), (), ()),
            TimeStep(middle, reward, discount, successor),
        )

    def act(self) -> Any:
        variables, strides = self._network.trainable_variables, [one.stride for one in self._layers.convolutions]
        preprocess, split = self.preprocessing, 2 * len(strides)

        # Written out, because Keras' layers add operations on shapes to the graph.
        def act(observation: Any, noise: Any) -> dict[str, Any]:
            flow = preprocess(observation)
            for stride, kernel, bias in zip(strides, variables[0:split:2], variables[1:split:2], strict=True):
                flow = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(flow, kernel, stride, "VALID"), bias))
            flow = tf.reshape(flow, [-1, int(np.prod(flow.shape[1:]))])
            for kernel, bias in zip(variables[split:-2:2], variables[split + 1 : -2 : 2], strict=True):
                flow = tf.nn.relu(tf.matmul(flow, kernel) + bias)
            q_values = tf.matmul(flow, variables[-2]) + variables[-1]
            return {"action": self.choose(q_values + noise), "q_values": q_values}

        return self._traced(act)


class FrameUpdates:
    """Writes rows to the replay, whose table of frames is outside of the graph, and runs a block of updates in it."""

    def __init__(self, replay: FrameReplay, update: Callable[[Any], Any]) -> None:
        """`update` runs the block within a graph, from a seed to the mean loss."""
        self._replay = replay
        self._update = tf.function(update, input_signature=[tf.TensorSpec([2], tf.int32)], autograph=False)

    def __call__(self, rows: AnyArray, seed: Any) -> Any:
        self._replay.write(rows)
        return self._update(seed)

    def get_concrete_function(self) -> None:
        """Traces a block of updates, which makes the optimizer's variables. Named as a TensorFlow function's method."""
        self._update.get_concrete_function()


def make_frame_replay(settings: DqnSettings, domain: Domain) -> FrameReplay:
    """The replay for the images of this environment."""
    height, width, channels = image_shape(*domain.leaves)
    stacks = FrameStacks(height * width, channels // domain.frame_stack, domain.frame_stack)
    return FrameReplay(settings.replay_capacity, ImageColumns(domain.obs_dim, domain.action.size), stacks)
