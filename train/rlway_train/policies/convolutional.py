"""A convolutional policy in numpy: convolutions without padding, dense layers, Q-values.

In:      images as vectors of bytes, uint8[B, obs_dim].
Out:     actions int64[B].

Each convolution is one matrix product, over a copy of the squares that it sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from rlway_client.contract.specs import AnyArray, FloatArray, IntArray
from rlway_train.config.convolutions import network_for
from rlway_train.config.settings import DqnSettings
from rlway_train.envs.domain import Domain
from rlway_train.envs.spaces import brightest, image_shape
from rlway_train.policies.numpy import StatelessPolicy, dense


@dataclass(frozen=True)
class GreedyConvPolicy(StatelessPolicy):
    """The action with the highest Q-value, by TF-Agents' QNetwork with convolutions."""

    layers: Sequence[FloatArray]  # kernels and biases in the order of the network's variables
    strides: Sequence[int]  # of the convolutions
    shape: tuple[int, int, int]  # height, width and channels of an image
    scale: float  # by which bytes are multiplied

    def q_values(self, observations: AnyArray) -> FloatArray:  # [B, obs_dim] -> [B, n_actions]
        flow = observations.reshape(-1, *self.shape).astype(np.float32)
        flow *= np.float32(self.scale)
        split = 2 * len(self.strides)
        for stride, kernel, bias in zip(self.strides, self.layers[0:split:2], self.layers[1:split:2], strict=True):
            flow = convolve(flow, kernel, stride)
            flow += bias
            np.maximum(flow, 0, out=flow)
        return dense(self.layers[split:], flow.reshape(len(flow), -1))

    def act(self, observations: AnyArray) -> IntArray:
        best: IntArray = self.q_values(observations).argmax(axis=1)
        return best


def greedy_conv_policy(weights: Sequence[FloatArray], settings: DqnSettings, domain: Domain) -> GreedyConvPolicy:
    """The policy with these weights, for the images of this environment."""
    (image,) = domain.leaves
    height, width, channels = image_shape(image)
    strides = [layer.stride for layer in network_for(settings, height, width).convolutions]
    return GreedyConvPolicy(weights, strides, (height, width, channels), 1 / brightest(image))


def convolve(images: FloatArray, kernel: FloatArray, stride: int) -> FloatArray:
    """[B, height, width, channels], [size, size, channels, filters] -> [B, height', width', filters]"""
    size, _, channels, filters = kernel.shape
    rows, columns = ((side - size) // stride + 1 for side in images.shape[1:3])
    per_image, per_row, per_place, per_channel = images.strides
    squares = as_strided(
        images,
        (len(images), rows, columns, size, size, channels),
        (per_image, stride * per_row, stride * per_place, per_row, per_place, per_channel),
        writeable=False,
    )
    flat = squares.reshape(-1, size * size * channels)  # a copy
    result: FloatArray = flat @ kernel.reshape(-1, filters)
    return result.reshape(len(images), rows, columns, filters)
