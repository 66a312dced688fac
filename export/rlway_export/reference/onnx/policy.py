"""A policy in an ONNX file: the file's own answers, as onnxruntime gives them.

In:      a checked model, the roles of its tensors.
Out:     `OnnxPolicy`: (observation…[, noise][, state…, reset]) → action[, q_values or logits][, next_state…].
Refuses: a file that onnxruntime does not run, or not within `LONGEST_S`; outputs that do not fit their roles
         (ExportRefused).

The reference of every exported file is this: the file's operators unchanged, run over the rows that it takes at once,
or row by row, and the choice of the action in numpy. Nothing of what the export makes of the graph is used.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from rlway_client.common.quote import reason, short_name
from rlway_client.contract.errors import ExportRefused
from rlway_client.contract.interface import NEXT, RESET, Draw, Interface
from rlway_client.contract.manifest import Sampling
from rlway_client.contract.parity import Arrays, rows_of
from rlway_client.contract.specs import AnyArray, TensorSpec
from rlway_export.reference.onnx.draws import GraphDraw, draws_as_inputs, keep_outputs
from rlway_export.reference.onnx.layout import Layout, Place
from rlway_export.reference.roles import Roles
from rlway_export.reference.tensor_interface import (
    NOISE,
    action_specs,
    check_state,
    choose_action,
    contract_names,
    input_spec,
    make_interface,
    with_noise,
)

CHUNK_ROWS = 256
MOST_NUMBERS = 2**21  # of one row: an image of 800 × 800 in colour
LONGEST_S = 60.0  # for one call: a loop may have been written to run for ever


class OnnxPolicy:
    """Runs one row on construction, to learn the shapes. `name` is the file in messages."""

    def __init__(self, model: Any, roles: Roles, name: str) -> None:
        self.name, self.roles, self.notes = name, roles, list[str]()
        self.original = model
        self.graph, self.draws = draws_as_inputs(model, roles.outputs, name)
        self.layout = Layout.of(self.graph, roles, self.draws, name)
        self.sampling = Sampling(kind="sampled") if self.draws else None
        self.interface = self._find_interface()

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes with which the file can be run."""
        return (1, 7, 64) if self.layout.is_free else (1,)

    def run_act(self, inputs: Arrays) -> Arrays:
        """The file's answers: arrays by the names of the interface."""
        return self._in_chunks(inputs, self._session)

    def _in_chunks(self, inputs: Arrays, session: Any) -> Arrays:
        step = CHUNK_ROWS if self.layout.is_free else 1
        parts = [
            self._act({name: array[start : start + step] for name, array in inputs.items()}, session)
            for start in range(0, rows_of(inputs), step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def sample(self, inputs: Arrays) -> Arrays:
        """The answers of the file with its own draws, and with draws for its scores."""
        return self._in_chunks(with_noise(self.interface, inputs, seed=0), self._own_session)

    def timed(self, inputs: Arrays) -> Callable[[], object]:
        """A call of the file itself with the first of these rows."""
        feed = self._feed({name: array[:1] for name, array in inputs.items()})
        return lambda: self._session.run(self.roles.outputs, feed)

    def draw_places(self) -> list[tuple[GraphDraw, Place]]:
        """How the inputs of the draws take their rows."""
        return list(zip(self.draws, self._draw_places, strict=True))

    def initial(self, taken: str) -> AnyArray:
        """The state of that input at the beginning of an episode, one row."""
        part = next(part for part in self.roles.state if part.taken == taken)
        place = self.layout.places[taken]
        first = np.zeros(place.shape) if part.initial is None else part.initial
        if first.size != math.prod(place.shape):
            raise ExportRefused(
                f"{self.name}: {short_name(taken)}: expected initial values of the shape {list(place.shape)}, got "
                f"{list(first.shape)}; write them again."
            )
        return first.reshape(place.shape).astype(place.dtype)

    def _feed(self, rows: Arrays) -> Arrays:
        """The file's inputs, from those of the contract."""
        n = rows_of(rows)
        feed = dict(self._constants(n))
        for name, spec in zip(self.roles.observation, self.interface.observation, strict=True):
            feed[name] = self.layout.places[name].put(rows[spec.name])
        for part, spec in zip(self.roles.state, self.interface.state, strict=True):
            begins = rows[RESET.name].reshape(n, *[1] * len(spec.shape))
            feed[part.taken] = self.layout.places[part.taken].put(
                np.where(begins, self.initial(part.taken), rows[spec.name])
            )
        noise, start = rows.get(NOISE, np.zeros((n, 0), np.float32)), 0
        for draw, place in self.draw_places():
            size = int(np.prod(place.shape))
            feed[draw.name] = place.put(noise[:, start : start + size].reshape(n, *place.shape))
            start += size
        return feed

    def _act(self, rows: Arrays, session: Any) -> Arrays:  # [n, …] -> [n, …]
        taken, feed = {value.name for value in session.get_inputs()}, self._feed(rows)
        given = self._run({name: value for name, value in feed.items() if name in taken}, session)
        values = self._action_values(given)
        answers = choose_action(self.roles.action, self.interface, values, rows.get(NOISE), np)
        for part, spec in zip(self.roles.state, self.interface.state, strict=True):
            answers[NEXT + spec.name] = self.layout.places[part.taken].take(given[part.given])
        return {spec.name: answers[spec.name] for spec in self.interface.results}

    def _action_values(self, given: Arrays) -> Arrays:
        """The outputs of which the action is made, with a batch dimension."""
        found = {part.tensor: given[part.tensor] for part in self.roles.action}
        return found if self.layout.is_batched else {name: value[np.newaxis] for name, value in found.items()}

    def _constants(self, n: int) -> Arrays:
        places = {name: place for name, place in self.layout.places.items() if name in self.roles.fixed}
        return {
            name: place.put(np.full((n, *place.shape), self.roles.fixed[name], place.dtype))
            for name, place in places.items()
        }

    def _find_interface(self) -> Interface:
        """The tensors, from the declared inputs and from the answer to a row of zeros."""
        rows = 2 if self.layout.is_free else 1
        self._check_size([place.shape for place in self.layout.places.values()])
        given = self._probe(rows)
        self.dtypes = {name: str(value.dtype) for name, value in given.items()}  # of the file's outputs
        places, roles = self.layout.places, self.roles
        observation = [
            input_spec(name, places[tensor].shape, str(places[tensor].dtype), path)
            for tensor, name, path in contract_names("observation", roles.observation)
        ]
        actions, scores = action_specs(roles.action, self._action_values(given), rows, self.name)
        state = [
            TensorSpec(name, places[tensor].shape, str(places[tensor].dtype))
            for tensor, name, _ in contract_names("state", [part.taken for part in roles.state])
        ]
        for part in roles.state:
            place = places[part.taken]
            expected = place.put(np.zeros((rows, *place.shape))).shape
            check_state(part, expected, given[part.given].shape)
        own = [Draw(draw.distribution, int(np.prod(place.shape))) for draw, place in self.draw_places()]
        return make_interface(observation, actions, state, scores, own)

    def _check_size(self, shapes: list[tuple[int, ...]]) -> None:
        """Raises ExportRefused for more numbers than thousands of rows can have in memory."""
        size = sum(math.prod(shape) for shape in shapes)
        if size > MOST_NUMBERS:
            raise ExportRefused(
                f"{self.name}: expected at most {MOST_NUMBERS:,} numbers in the inputs of one row, got {size:,}."
            )

    def _probe(self, rows: int) -> Arrays:
        """The outputs for rows of zeros."""
        feed = {
            name: place.put(np.zeros((rows, *place.shape), place.dtype)) for name, place in self.layout.places.items()
        }
        feed |= self._constants(rows)
        self._check_size([draw.shape for draw in self.draws if draw.like is None])
        self._draw_places = [self._draw_place(draw, feed, rows) for draw in self.draws]
        for draw, place in self.draw_places():
            feed[draw.name] = place.put(np.zeros((rows, *place.shape), np.float32))
        return self._run(feed, self._session)

    def _draw_place(self, draw: GraphDraw, feed: Arrays, rows: int) -> Place:
        shape, float32 = draw.shape, np.dtype(np.float32)
        if draw.like is not None:
            model = self._part([draw.like])
            taken = {value.name for value in model.graph.input}
            session = self._open(model)
            (found,) = self._call(session, [draw.like], {name: value for name, value in feed.items() if name in taken})
            shape = found.shape
        if not self.layout.is_batched:
            return Place(None, shape, float32)
        if not shape or shape[0] != (1 if draw.like is None else rows):
            raise ExportRefused(
                f"{self.name}: draws numbers of the shape {list(shape)}, which belong to no row; export the policy "
                f"without drawing."
            )
        return Place(0, shape[1:], float32)

    @cached_property
    def _session(self) -> Any:
        return self._open(self.graph)

    @cached_property
    def _own_session(self) -> Any:
        """The file with its own draws."""
        return self._open(self._part(self.roles.outputs))

    def _part(self, outputs: list[str]) -> Any:
        """The file without what these values do not need."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.original)
        known = {value.name for value in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in known)
        keep_outputs(model, outputs)
        return model

    def _open(self, model: Any) -> Any:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised
        try:
            return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated kinds
            raise ExportRefused(f"{self.name}: onnxruntime cannot load it: {reason(error)}.") from None

    def _run(self, feed: Arrays, session: Any) -> Arrays:
        return dict(zip(self.roles.outputs, self._call(session, self.roles.outputs, feed), strict=True))

    def _call(self, session: Any, outputs: list[str], feed: Arrays) -> list[AnyArray]:
        import onnxruntime as ort

        options = ort.RunOptions()
        options.log_severity_level = 4
        limit = threading.Timer(LONGEST_S, setattr, (options, "terminate", True))
        limit.daemon = True
        limit.start()
        try:
            found: list[AnyArray] = session.run(outputs, feed, options)
        except Exception as error:  # onnxruntime raises a dozen unrelated kinds
            why = f"takes longer than {LONGEST_S:.0f} s" if options.terminate else reason(error)
            raise ExportRefused(
                f"{self.name}: onnxruntime cannot run it over the observations: {why}; give some that it takes with "
                f"--observations FILE.npz."
            ) from None
        finally:
            limit.cancel()
        return found
