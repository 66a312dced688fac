"""The layers of a network for images.

In:      --conv and --hidden; the size of the image.
Out:     `Network`: convolutions without padding, each followed by ReLU, then dense layers.
Refuses: UsageError for a list that cannot be read, layers that do not fit the image, and settings that do not go with
         images.

Without a list, the layers are those of the literature: for small images such as MinAtar's, those of Young & Tian,
"MinAtar", 2019; for large ones, those of Mnih et al., "Human-level control through deep reinforcement learning", 2015.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from rlway_client.contract.errors import UsageError
from rlway_train.config.settings import Chosen, DqnSettings

BY_SIZE = "auto"  # layers that suit the image
LAYER = re.compile(r"(\d{1,4})x(\d{1,3})x(\d{1,3})")
LARGE = 36  # pixels of the shorter side, from which the Nature layers have more than one place left


class Convolution(NamedTuple):
    """One convolution: its filters, the side of the square that each sees, and the distance between two squares."""

    filters: int
    size: int
    stride: int


class Network(NamedTuple):
    """The layers of a network for images."""

    convolutions: tuple[Convolution, ...]
    hidden: tuple[int, ...]  # of the dense layers


SMALL_IMAGES = Network((Convolution(16, 3, 1),), (128,))
LARGE_IMAGES = Network((Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1)), (512,))


def for_images(settings: Chosen) -> dict[str, Any]:
    """The defaults that differ once --conv is given: hidden layers by the image's size, and no XLA.

    XLA's gradients of convolutions are slow on CPUs: an update takes 3 times as long at 10 × 10 pixels, and more than
    20 times as long at 84 × 84.
    """
    usual = type(settings)()
    return {
        name: value
        for name, value in (("hidden", ()), ("xla", False))
        if getattr(settings, name) == getattr(usual, name)
    }


def network_for(settings: DqnSettings, height: int, width: int) -> Network:
    """The layers for an image of this size. Raises UsageError if it is too small for them."""
    assert settings.conv is not None
    known = SMALL_IMAGES if min(height, width) < LARGE else LARGE_IMAGES
    convolutions = known.convolutions if settings.conv == BY_SIZE else read_convolutions(settings.conv)
    sides = [height, width]
    for number, layer in enumerate(convolutions, start=1):
        if min(sides) < layer.size:
            raise UsageError(
                f"--conv: layer {number} sees {layer.size} × {layer.size} places, and the layer before it leaves "
                f"{sides[0]} × {sides[1]} of an image of {height} × {width}; use smaller sizes or strides."
            )
        sides = [(side - layer.size) // layer.stride + 1 for side in sides]
    return Network(convolutions, settings.hidden or known.hidden)


def read_convolutions(text: str) -> tuple[Convolution, ...]:
    """`32x8x4,64x4x2` as layers."""
    layers = []
    for part in text.split(","):
        match = LAYER.fullmatch(part.strip())
        numbers = [int(number) for number in match.groups()] if match else [0]
        if min(numbers) < 1:
            raise UsageError(
                f"--conv: expected filters x size x stride of each layer, such as 32x8x4,64x4x2,64x3x1, got {text!r}"
            )
        layers.append(Convolution(*numbers))
    return tuple(layers)


def check_conv(settings: DqnSettings) -> None:
    """Raises UsageError for layers that cannot be read, and for settings that do not go with images."""
    assert settings.conv is not None
    if settings.conv != BY_SIZE:
        read_convolutions(settings.conv)
    for flag, given, reason in (
        ("lstm", settings.lstm, "remembers vectors, and --conv learns images; --frame-stack N shows several frames"),
        ("differences", settings.differences, "is for vectors; with --conv, --frame-stack N shows several frames"),
        ("online", settings.online, "learns without a replay, and --conv learns from one; leave one out"),
        ("normalize", settings.normalize, "is for vectors; --conv scales images to 0 to 1 by itself"),
        ("replay reverb", settings.replay == "reverb", "keeps float32, and images are bytes; use --replay tf"),
    ):
        if given:
            raise UsageError(f"--{flag}: {reason}.")
