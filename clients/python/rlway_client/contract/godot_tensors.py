"""What Godot RL Agents hands to a model and reads from it, for one policy.

In:      the policy's interface.
Out:     `GodotTensors`: the inputs by the keys of `get_obs()`, and the columns of `output`.
Refuses: what the plugin cannot hand over or keep (ExportRefused): policy state, rewards, and keys that it cannot have.

    obs          the observation, flat; of several, each has its own key, with `/` between nested keys
    state_ins    a number that the plugin sets to 1; `state_outs` gives it back
    output       for each part of the action in its order: a score for each choice, or the values. Where choices and
                 values are mixed, the plugin skips as many columns as there are values, and these are zeros
"""

from __future__ import annotations

from typing import NamedTuple

from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.game_actions import Branches, Part, Span, game_actions
from rlway_client.contract.interface import Interface
from rlway_client.contract.specs import TensorSpec

ENGINE = "godot"
STATE_IN, STATE_OUT, OUTPUT = "state_ins", "state_outs", "output"
ALONE = "obs"  # the key of an observation of one tensor
OUT = "leave godot out of --formats."


class GodotTensors(NamedTuple):
    """All tensors of one policy."""

    observations: dict[str, TensorSpec]  # by key
    parts: list[Part]
    noise: TensorSpec | None
    outputs: list[TensorSpec]  # what the policy gives besides; the plugin does not read it

    @classmethod
    def of(cls, interface: Interface) -> GodotTensors:
        """Raises ExportRefused."""
        if interface.state:
            raise ExportRefused(
                f"godot: the policy keeps a state between its actions ({interface.state[0].name}), and Godot RL Agents "
                f"hands none back; {OUT}"
            )
        if interface.time_step:
            name = interface.time_step[0].name
            raise ExportRefused(
                f"godot: the policy reads {name}, which Godot RL Agents does not hand to a model; {OUT}"
            )
        keys = ["/".join(spec.path) or ALONE for spec in interface.observation]
        further = [spec.name for spec in (*([interface.noise] if interface.noise else []), *interface.outputs)]
        taken = {STATE_IN, STATE_OUT, OUTPUT, *further}
        odd = next((key for key in keys if keys.count(key) > 1 or key in taken), None)
        if odd is not None:
            raise ExportRefused(f"godot: expected a key of its own for each observation, got {odd[:64]!r} twice; {OUT}")
        parts = game_actions(interface, ENGINE)
        return cls(dict(zip(keys, interface.observation, strict=True)), parts, interface.noise, interface.outputs)

    @property
    def is_mixed(self) -> bool:
        """Whether the plugin takes each continuous value for a mean and its deviation, and skips the deviations."""
        return any(isinstance(part, Branches) for part in self.parts)

    @property
    def columns(self) -> list[tuple[Part, int]]:
        """The parts, each with the number of its columns."""
        per_value = 2 if self.is_mixed else 1
        return [(p, p.spec.size * per_value if isinstance(p, Span) else sum(p.sizes)) for p in self.parts]

    @property
    def output_size(self) -> int:
        return sum(size for _, size in self.columns)
