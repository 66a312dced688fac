"""A SavedModel of TF-Agents' PolicySaver as a policy: the graph of its `action`, with its draws as an input.

In:      a SavedModel with `action(time_step, policy_state)`, of any version of TF-Agents.
Out:     `GraphPolicy`: (observation…[, noise][, time step…][, state…, reset]) → action…[, info…][, next_state…].
Refuses: a SavedModel without such a function, tensors of unknown size, draws that no input can replace, variables that
         change while it acts (ExportRefused, with the remedy).

Reward, discount and step type are inputs where the policy reads them; else they have the values of a step within an
episode. Where `reset` is true it is the first step of an episode, at which TF-Agents' policies reset their state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.common.quote import short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import NEUTRAL, NEXT, RESET, TIME_STEP, Draw, Interface
from rlway_client.contract.manifest import Sampling
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import DTYPES, AnyArray, TensorSpec, make_spec
from rlway_export.graphs.action_function import ActionFunction
from rlway_export.graphs.frozen import FrozenGraph, base, call_of, changed_variable, whole
from rlway_export.graphs.policy_specs import SPECS, Specs, read_specs
from rlway_export.graphs.ports import Port, Role
from rlway_export.graphs.sampled import Original, SampledGraph
from rlway_export.graphs.saved_model import SavedModel
from rlway_export.graphs.scores import add_scores, find_scores
from rlway_export.graphs.sizes import is_known, known_leaf
from rlway_export.reference.nest import names
from rlway_export.reference.policy import SavedPolicy, explained, loading

FIRST, MID = 0, 1  # step types of TF-Agents
UNTRAINED = 0  # the train step that PolicySavedModelTrigger saves when it is made; −1 means that nobody counted


class GraphPolicy(SavedPolicy):
    """Loads on construction. `name` is its name in messages."""

    def __init__(self, saved_model: Path, name: str) -> None:
        self._name = name
        self._saved = SavedModel.open(saved_model, name)
        self._action = ActionFunction.of(self._saved, name)
        self.notes = [*self._action.notes]
        self._check_function()
        bounds = read_specs(saved_model)
        if bounds is None:
            self.notes.append(f"{name}: its {SPECS} cannot be read, so the bounds of its tensors are not known.")
        self._observation = self._specs("observation", "observation", bounds)
        self._state = self._specs("state", "state")
        with loading(f"{name}: its graph cannot be read"):
            self._original = FrozenGraph.of(self._action.function)
        with explained():
            self._find_sizes()
        actions = self._specs("action", "action", bounds)
        tensors = dict(zip(self._original.outputs, self._action.outputs, strict=True))
        chosen = [name for name, port in tensors.items() if port.role == "action"]
        with explained():
            self._sampled = SampledGraph.of(self._original, chosen, self._fixed_rows(), self._feed, name)
        self.rows = self._sampled.rows
        if self.rows is not None:
            self._note_one_row()
        elif self._fixed_rows() is None and self._sampled.original_rows == 1:
            self.notes.append(
                f"{name}: draws the same numbers for all rows of a batch; its files take others for each."
            )
        places = dict(zip(self._original.outputs, self._sampled.graph.outputs, strict=True))
        scores = find_scores(self._sampled, actions, [places[tensor] for tensor in chosen])
        self._graph = add_scores(self._sampled.graph, scores)
        nodes = self._original.nodes
        self._fetched = [*self._original.outputs, *(whole(nodes[score.node].input[0]) for score in scores)]
        self._scores = scores
        info = self._specs("info", "info")
        outputs = [*(score.spec for score in scores), *info]
        noise = TensorSpec("noise", (self._sampled.noise_size,), "float32") if self._sampled.sites else None
        draws = [Draw(site.distribution, site.size) for site in self._sampled.sites]
        self.interface = Interface(self._observation, actions, noise, self._state, outputs, self._time_step(), draws)
        self._names = [*self._names_of(actions, info), *(score.spec.name for score in scores)]
        self._note_train_step()

    @property
    def sampling(self) -> Sampling | None:
        """How the SavedModel chooses its actions; None if it is greedy."""
        explorations = self._sampled.explorations
        if explorations:
            return Sampling(kind="epsilon-greedy", epsilon=explorations[0].epsilon)
        return Sampling(kind="sampled") if self._sampled.sites else None

    def sample(self, inputs: Arrays) -> Arrays:
        """The SavedModel's answers with its own draws; `inputs` needs no noise."""
        with explained():
            return self._by_name(self._as_saved.sample(self._given(inputs), self._original.outputs))

    def timed(self, inputs: Arrays) -> Callable[[], object]:
        """A call of the SavedModel's own `action` for the first of these rows."""
        given = self._given({name: array[:1] for name, array in inputs.items()})
        return call_of(self._action.function, [given[name] for name in self._original.inputs])

    @property
    def _model(self) -> Any:
        return self._saved.loaded

    @cached_property
    def _as_saved(self) -> Original:
        return Original(self._original, self._sampled, self._fixed_rows())

    def _run(self, rows: list[Any]) -> Arrays:
        inputs = dict(zip((spec.name for spec in self.interface.inputs), rows, strict=True))
        with explained():
            return self._by_name(self._as_saved.run(self._given(inputs), inputs.get("noise"), self._fetched))

    def _by_name(self, values: list[AnyArray]) -> Arrays:
        found = dict(zip(self._names, values, strict=False))
        for score in self._scores:
            if score.spec.name in found:
                found[score.spec.name] = found[score.spec.name].reshape(-1, *score.spec.shape)
        return found

    def _act(self, *inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        known = dict(zip((spec.name for spec in self.interface.inputs), inputs, strict=True))
        rows = tf.shape(inputs[0])[0] if self.rows is None else self.rows
        given = [self._port(port, known, tf, rows) for port in self._action.inputs]
        noise = [known["noise"]] if self._sampled.sites else []
        return dict(zip(self._names, self._graph.call([*given, *noise]), strict=True))

    def _given(self, inputs: Arrays) -> Arrays:
        """The values of the original graph's inputs, by tensor."""
        values = [self._port(port, inputs, np, rows_of(inputs)) for port in self._action.inputs]
        return dict(zip(self._original.inputs, values, strict=True))

    def _port(self, port: Port, known: dict[str, Any], library: Any, rows: Any) -> Any:
        """The value of one input of the graph, from those of the interface, in NumPy or in TensorFlow."""
        leaf, kind = port.leaf, np.dtype(port.leaf.dtype)
        if port.role in ("observation", "state"):
            specs = self._observation if port.role == "observation" else self._state
            return known[next(spec.name for spec in specs if spec.path == leaf.path)]
        if port.role == "step_type" and self._state:
            return library.where(known[RESET.name], kind.type(FIRST), kind.type(MID))
        if port.role in known:
            return known[port.role] if library is not np else known[port.role].astype(kind)
        shape = [rows, *[size or 1 for size in (leaf.shape or ())[1:]]]
        neutral = kind.type(NEUTRAL[port.role])
        return np.full(shape, neutral) if library is np else library.fill(shape, neutral)

    def _feed(self, rows: int) -> Arrays:
        """Rows that the policy takes, by the tensors of the graph's inputs."""
        generator = np.random.default_rng(rows)
        inputs = {spec.name: _sample(spec, rows, generator) for spec in (*self._observation, *self._state)}
        return self._given(inputs | {RESET.name: np.arange(rows) % 2 == 0})

    def _fixed_rows(self) -> int | None:
        """The only number of rows that the SavedModel takes; None for any."""
        sizes = {port.leaf.shape[0] for port in self._action.inputs if port.leaf.shape}
        return next((size for size in sizes if size is not None), None)

    def _time_step(self) -> list[TensorSpec]:
        """What the policy reads of the time step, besides the observation."""
        inputs = zip(self._action.inputs, self._graph.inputs, strict=False)
        read = self._graph.ancestors(self._graph.outputs, values=True)
        roles = [port.role for port, name in inputs if base(name) in read and len(port.leaf.shape or ()) == 1]
        wanted = [role for role in roles if role in TIME_STEP and not (role == "step_type" and self._state)]
        return [TensorSpec(role, (), kind) for role, kind in TIME_STEP.items() if role in wanted]

    def _names_of(self, actions: list[TensorSpec], info: list[TensorSpec]) -> list[str]:
        """The interface's name of each of the graph's outputs."""
        specs = {"action": actions, "info": info, "state": self._state}
        named = {(role, spec.path): spec.name for role, group in specs.items() for spec in group}
        found = [named[port.role, port.leaf.path] for port in self._action.outputs]
        return [NEXT + n if p.role == "state" else n for n, p in zip(found, self._action.outputs, strict=True)]

    def _specs(self, title: str, role: Role, bounds: Specs | None = None) -> list[TensorSpec]:
        """The tensors of one part, in TensorFlow's order, with their bounds."""
        found = self._action.given(role) if role in ("action", "info") else self._action.taken(role)
        known = bounds.by_path(role) if bounds is not None else {}
        titles = names(title, [leaf.path for leaf in found])
        specs = []
        for name, leaf in zip(titles, found, strict=True):
            bounded = known.get(leaf.path, leaf)
            shape = tuple(size or 0 for size in (leaf.shape or ())[1:])
            specs.append(make_spec(name, shape, leaf.dtype, bounded.low, bounded.high, leaf.path))
        return specs

    def _check_function(self) -> None:
        for port in self._action.inputs:
            self._check_port(port)
        if not self._action.taken("observation"):
            raise ExportRefused(f"{self._name}: observes nothing; only a policy of one array or more can be exported.")
        taken, given = ([leaf.path for leaf in side("state")] for side in (self._action.taken, self._action.given))
        if sorted(taken) != sorted(given):
            raise ExportRefused(
                f"{self._name}: takes {len(taken)} parts of policy state and gives {len(given)}; expected the same."
            )
        changed = changed_variable(self._action.function)
        if changed is not None:
            raise ExportRefused(
                f"{self._name}: changes a variable while it acts ({changed}), as the noise of DDPG's collect policy "
                f"does; export the agent's policy, or the trigger's greedy_policy."
            )

    def _find_sizes(self) -> None:
        """Completes the sizes of the results. Refuses those that are still not known."""
        fixed, outputs = self._fixed_rows(), []
        for port, tensor in zip(self._action.outputs, self._original.outputs, strict=True):
            leaf = known_leaf(port.leaf, self._original, tensor, self._feed, fixed)
            outputs.append(port._replace(leaf=leaf))
            self._check_port(outputs[-1])
        self._action = self._action._replace(outputs=outputs)

    def _check_port(self, port: Port) -> None:
        title, leaf = short_name("/".join((port.role, *port.leaf.path))), port.leaf
        if not is_known(leaf):
            shape = "unknown" if leaf.shape is None else list(leaf.shape)
            raise ExportRefused(f"{self._name}: {title} has no known shape ({shape}).")
        if leaf.dtype not in DTYPES:
            raise ExportRefused(f"{self._name}: {title} is of {leaf.dtype}; only numbers can be exported.")

    def _note_one_row(self) -> None:
        self.notes.append(
            f"{self._name}: was saved for one row at once (batch_size=1), and no graph was found that takes more and "
            f"acts alike; its files run one row after the other."
        )

    def _note_train_step(self) -> None:
        if self._saved.train_step == UNTRAINED:
            self.notes.append(
                f"{self._name}: its train step is 0: these are the weights of before the training; later ones lie in "
                f"the trigger's checkpoints."
            )


def _sample(spec: TensorSpec, rows: int, generator: np.random.Generator) -> AnyArray:
    """Values within the bounds; small ones where there are none."""
    low, high = (np.nan_to_num(bound, neginf=-1, posinf=1) for bound in spec.bounds())
    shape = (rows, *spec.shape)
    if spec.numpy_dtype.kind == "f":
        return np.asarray(generator.uniform(low, np.maximum(low, high), shape), spec.dtype)
    if spec.numpy_dtype.kind == "b":
        return generator.random(shape) < 0.5
    least, most = np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max
    low, high = np.clip(np.where(np.isfinite(spec.bounds()[0]), low, 0), least, most), np.clip(high, least, most)
    return np.asarray(low + np.floor(generator.random(shape) * (np.minimum(high - low, 1000) + 1)), spec.dtype)
