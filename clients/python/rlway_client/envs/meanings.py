"""What the observations and actions of an environment stand for, as the environment says it.

In:      an environment, its name.
Out:     a `Meaning`, or None: from `metadata["meaning"]`, which is what `Meaning` has as JSON, or from gymnasium's
         documentation for its classic control tasks.
Refuses: `metadata["meaning"]` of another form (EnvironmentFault).
"""

from __future__ import annotations

from typing import Any

import msgspec

from rlway_client.common.quote import reason
from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.meaning import Meaning, TensorMeaning
from rlway_client.contract.specs import TensorSpec

KEY = "meaning"  # in an environment's `metadata`

_CART = ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"]
_CART_UNITS, _CART_KINDS = ["m", "m/s", "rad", "rad/s"], ["position", "velocity", "angle", "angular velocity"]
_LEFT_RIGHT = TensorMeaning(choices=["push_left", "push_right"])


def _cart(shown: slice) -> Meaning:
    cart = TensorMeaning(names=_CART[shown], units=_CART_UNITS[shown], kinds=_CART_KINDS[shown])
    return Meaning(control_period_s=0.02, tensors={"observation": cart, "action": _LEFT_RIGHT})


_ALL = slice(None)
KNOWN = {
    "CartPole-v0": _cart(_ALL),
    "CartPole-v1": _cart(_ALL),
    "rlway/CartPolePositions-v0": _cart(slice(0, 3, 2)),
    "Pendulum-v1": Meaning(
        control_period_s=0.05,
        tensors={
            "observation": TensorMeaning(
                names=["cos_angle", "sin_angle", "angular_velocity"],
                units=["1", "1", "rad/s"],
                kinds=["cosine of angle", "sine of angle", "angular velocity"],
            ),
            "action": TensorMeaning(names=["torque"], units="N m", kinds="torque"),
        },
    ),
    "Acrobot-v1": Meaning(
        control_period_s=0.2,
        tensors={
            "observation": TensorMeaning(
                names=["cos_1", "sin_1", "cos_2", "sin_2", "angular_velocity_1", "angular_velocity_2"],
                units=["1", "1", "1", "1", "rad/s", "rad/s"],
            ),
            "action": TensorMeaning(choices=["torque_minus_1", "torque_0", "torque_plus_1"], units="N m"),
        },
    ),
}


def find_meaning(name: str, metadata: Any) -> Meaning | None:
    """What the environment of this name says. Raises EnvironmentFault."""
    given = metadata.get(KEY) if isinstance(metadata, dict) else None
    if given is None:
        return KNOWN.get(name)
    try:
        return msgspec.convert(given, Meaning)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise EnvironmentFault(
            f'{name}: metadata["{KEY}"]: expected names, units and kinds by tensor, got what cannot be read: '
            f"{reason(error)}."
        ) from None


def without(meaning: Meaning, specs: list[TensorSpec]) -> Meaning:
    """The meaning without these tensors, because what the policy sees of them is not what the environment gives."""
    changed = {spec.name for spec in specs}
    kept = {name: meant for name, meant in meaning.tensors.items() if name not in changed}
    return Meaning(control_period_s=meaning.control_period_s, tensors=kept)
