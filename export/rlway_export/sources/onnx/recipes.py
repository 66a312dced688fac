"""The forms in which libraries of reinforcement learning write their policies, known by the names of the tensors.

In:      an ONNX file.
Out:     `Recipe`: the roles that its form suggests; empty where it suggests none.

    ML-Agents            obs_0 … [action_masks, recurrent_in] → version_number, memory_size, continuous_actions, …
    RLlib                obs, state_ins, seq_lens → output, state_outs
    rsl_rl               obs[, h_in[, c_in]] → actions[, h_out[, c_out]]
    TorchRL              observation[, is_init, STATE] → action[, next_STATE]
    stable-baselines3    one input → actions, values, log_prob; or the output of a network and values
    others               by the usual names: obs or observation → action, mean, q_values, logits
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rlway_export.sources.recipe import OBSERVATION, Recipe, names_of, state_pairs, usual_names
from rlway_export.sources.tensor_file import TensorFile


def recognise(file: TensorFile) -> Recipe:
    """The first recipe that fits."""
    return next(recipe for find in RECIPES if (recipe := find(file)) is not None)


def _ml_agents(file: TensorFile) -> Recipe | None:
    inputs, outputs = names_of(file.inputs), names_of(file.outputs)
    if not {"version_number", "memory_size"} <= set(outputs):
        return None
    kinds = [(f"deterministic_{kind}_actions", f"{kind}_actions") for kind in ("continuous", "discrete")]
    action = [name for kind in kinds if (name := next((one for one in kind if one in outputs), None))]
    observation = [name for name in inputs if re.fullmatch(r"obs_\d+", name)]
    state = state_pairs(file, [("recurrent_in", "recurrent_out")])
    masks = {"action_masks": 1.0} if "action_masks" in inputs else {}  # no action is forbidden
    return Recipe("ML-Agents'", observation, action, ["action"] * len(action), state, masks)


def _rllib(file: TensorFile) -> Recipe | None:
    inputs, outputs = names_of(file.inputs), names_of(file.outputs)
    if "output" not in outputs or not ({"state_ins", "seq_lens"} & set(inputs)):
        return None
    state = state_pairs(file, [("state_ins", "state_outs")])
    held = {"obs", *(part.taken for part in state)}
    fixed = {name: float(name == "seq_lens") for name in inputs if name not in held}
    return Recipe("RLlib's", ["obs"], ["output"], [], state, fixed)


def _rsl_rl(file: TensorFile) -> Recipe | None:
    inputs, outputs = names_of(file.inputs), names_of(file.outputs)
    states = [("h_in", "h_out"), ("c_in", "c_out")]
    others = set(inputs) - {taken for taken, _ in states}
    if "obs" not in others or "actions" not in outputs or not all(OBSERVATION.fullmatch(name) for name in others):
        return None
    observation = [name for name in inputs if name in others]
    return Recipe("rsl_rl's", observation, ["actions"], ["mean"], state_pairs(file, states))


def _torchrl(file: TensorFile) -> Recipe | None:
    inputs, outputs = names_of(file.inputs), names_of(file.outputs)
    if "is_init" not in inputs or "action" not in outputs:
        return None
    state = state_pairs(file, [(name, f"next_{name}") for name in inputs])
    held = {"is_init", *(part.taken for part in state)}
    observation = [name for name in inputs if name not in held]
    return Recipe("TorchRL's", observation, ["action"], ["action"], state, {"is_init": 0.0})


def _stable_baselines3(file: TensorFile) -> Recipe | None:
    ranks = [None if one.shape is None else len(one.shape) for one in file.outputs]
    values = file.outputs[1].shape if len(file.outputs) in (2, 3) else None
    if len(file.inputs) != 1 or values is None or len(values) != 2 or values[-1] != 1:
        return None
    observation, action = [file.inputs[0].name], [file.outputs[0].name]
    if len(ranks) == 3 and ranks[2] == 1:
        return Recipe("stable-baselines3's", observation, action, ["action"])
    return Recipe("stable-baselines3's", observation, action) if len(ranks) == 2 else None


RECIPES: tuple[Callable[[TensorFile], Recipe | None], ...] = (
    _ml_agents,
    _rllib,
    _rsl_rl,
    _torchrl,
    _stable_baselines3,
    usual_names,
)
