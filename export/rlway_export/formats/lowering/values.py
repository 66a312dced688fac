"""The values of a graph while it is lowered: constants as arrays, the rest as tensors, images in either layout.

In:      arrays and tensors.
Out:     `Value`; the arguments of a node.
Refuses: an argument that is computed where TensorFlow needs a constant (NotLowered).

ONNX has the channels of an image first, TensorFlow's layers take them last. A value keeps the layout in which it was
made, and is transposed only for an operator that needs the other one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlway_client.contract.specs import AnyArray

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


class NotLowered(Exception):
    """What an operator of this form cannot be lowered for: `a computed argument`."""


class Value:
    """An array, or a tensor; of an image one layout or both."""

    def __init__(self, first: Any = None, last: Any = None) -> None:
        self._first, self._last = first, last

    @property
    def is_constant(self) -> bool:
        return isinstance(self._first, np.ndarray)

    @property
    def is_image(self) -> bool:
        """Whether it is at hand with its channels last."""
        return self._last is not None

    @property
    def plain(self) -> Any:
        """As ONNX has it."""
        import tensorflow as tf

        if self._first is None:
            self._first = tf.transpose(self._last, TO_FIRST)
        return self._first

    @property
    def channels_last(self) -> Any:
        """An image [rows, height, width, channels]."""
        import tensorflow as tf

        if self._last is None:
            self._last = tf.transpose(self._first, TO_LAST)
        return self._last

    @property
    def array(self) -> AnyArray:
        """The constant."""
        if not self.is_constant:
            raise NotLowered("an argument that is computed")
        constant: AnyArray = self._first
        return constant

    @property
    def whole(self) -> list[int]:
        """The constant as a list of whole numbers."""
        return [int(number) for number in self.array.ravel()]

    @property
    def shape(self) -> list[int | None]:
        """As ONNX has it; None for a free dimension."""
        if self._first is None:
            last = self._last.shape.as_list()
            return [last[axis] for axis in TO_FIRST]
        return list(self._first.shape) if self.is_constant else self._first.shape.as_list()


class Node:
    """One operator with its inputs; those that are left out are None."""

    def __init__(self, kind: str, inputs: list[Value | None], attributes: dict[str, Any], outputs: int) -> None:
        self.kind, self.inputs, self.attributes, self.outputs = kind, inputs, attributes, outputs

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def has(self, place: int) -> bool:
        return len(self.inputs) > place and self.inputs[place] is not None

    def value(self, place: int = 0) -> Value:
        """An input that has to be there."""
        value = self.inputs[place] if len(self.inputs) > place else None
        if value is None:
            raise NotLowered(f"{len(self.inputs)} inputs")
        return value

    def tensors(self) -> list[Any]:
        """All inputs."""
        import tensorflow as tf

        return [tf.convert_to_tensor(self.value(place).plain) for place in range(len(self.inputs))]

    def axis(self, default: int, rank: int) -> int:
        """The attribute, counted from the first axis."""
        return int(self.get("axis", default)) % rank if rank else 0
