"""Named tensors, as other protocols send them, against a policy's spec.

In:      tensors by name: numpy arrays of any numeric dtype, or nested lists as JSON has them; options.
Out:     a `Call`, whose arrays have the policy's dtypes.
Refuses: unknown, doubled and missing names, other shapes, numbers that the dtype cannot hold (SpecViolated, each fault
         with its tensor's name and place); too many rows (BodyTooLarge); noise beside `explore` (RequestMalformed).

A tensor may have its name in the manifest, or its name in TF-Agents' signatures: `0/observation/camera`, `0/step_type`,
`1/…` for the policy state. The key of a part of the observation goes before the time step's, unless the policy reads
that part of the time step. Floats are rounded to the policy's precision. All other numbers have to fit exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from rlway_client.common.quote import clipped, named
from rlway_client.contract.errors import RequestMalformed, SpecViolated
from rlway_client.contract.exploration import Explore, check_explore
from rlway_client.contract.interface import RESET, TIME_STEP
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import MAX_FAULTS, AnyArray, Fault, TensorSpec, beyond, describe
from rlway_client.contract.time_step import STEP_TYPE, are_known
from rlway_serve.codec.observation import ObservationForm, all_finite, as_bool
from rlway_serve.codec.slow_reader import SlowReader, check_rows
from rlway_serve.messages.call import Call, Receiver
from rlway_serve.settings import Settings

FIRST = 0  # the step type with which an episode begins
SOLE = ("observation", "0/observation")  # names of an observation of one tensor, besides its own


class TensorForm:
    """The tensors that one policy takes and gives, by name."""

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self._observation = manifest.observation
        self._observed = {spec.name for spec in manifest.observation}
        self._noise = manifest.noise.name if manifest.noise else ""  # infinite noise rules an action out, or forces it
        self._plain = len(manifest.observation) == 1 and not manifest.observation[0].path
        self._draws = manifest.interface.noise_draws
        self._state = manifest.state
        self._reads = {spec.name for spec in manifest.time_step}
        self._max_rows = settings.max_rows
        self._time_step = {name for name in TIME_STEP if name not in self._observed}  # whether it is read or not
        time_step = [TensorSpec(name, (), TIME_STEP[name]) for name in TIME_STEP if name in self._time_step]
        state = [*manifest.state, RESET] if manifest.state else []
        noise = [manifest.noise] if manifest.noise else []
        inputs = [*manifest.observation, *noise, *time_step, *state]
        self.specs = {spec.name: spec for spec in inputs}
        unread = {name: name for name in self._time_step - self._reads}
        own = {spec.name: spec.name for spec in inputs if spec.name not in unread}
        self._names = unread | _spellings(manifest, self._time_step) | own
        self._readers = {
            spec.name: SlowReader(ObservationForm([replace(spec, path=())]), settings.max_rows) for spec in inputs
        }
        self.actions = tuple(spec.name for spec in manifest.actions)
        self._next = tuple(spec.name for spec in manifest.interface.next_state)
        self.results = {spec.name: spec for spec in manifest.interface.results}

    def name_of(self, name: str) -> str | None:
        """The manifest's name of an input that a request may call `name`; None if there is none."""
        return self._names.get(name)

    def read(
        self,
        tensors: Mapping[str, Any],
        caller: Receiver,
        *,
        batched: bool = True,
        explore: Explore | None = None,
        seed: int | None = None,
        outputs: Sequence[str] = (),
        deadline_ms: float | None = None,
        in_episode: bool = False,
    ) -> Call:
        """The request as a call. If `batched`, its tensors have a leading batch dimension, else the specs' shapes.

        `outputs` names results; the action's tensors are always among them. A request of a policy with state that is
        `in_episode` finds its state there. Otherwise it holds the state itself, or its step type begins an episode, and
        the next state is among its outputs.
        """
        arrays, rows = self._read_all(tensors, batched)
        if explore is not None:
            check_explore(explore, self._draws)
            if self._noise in arrays:
                raise RequestMalformed("noise: expected either `noise` or `explore`, got both.")
        observations: Any = {spec.name: arrays[spec.name] for spec in self._observation}
        if self._plain:
            observations = observations[self._observation[0].name]
        call = Call(observations, rows, caller, batched=batched, deadline_ms=deadline_ms)
        call.named = True
        call.explore, call.seed, call.noise = explore, seed, arrays.get(self._noise)
        call.time_step = {name: arrays[name] for name in self._reads if name in arrays} or None
        call.outputs = self._check_outputs(outputs)
        if self._state:
            self._read_state(call, arrays, in_episode)
        return call

    def _read_all(self, tensors: Mapping[str, Any], batched: bool) -> tuple[Arrays, int]:
        """All tensors in their dtypes, by the manifest's names, and their number of rows."""
        faults: list[Fault] = []
        arrays: Arrays = {}
        rows = 0
        for given, value in tensors.items():
            if len(faults) >= MAX_FAULTS:
                break
            where = clipped(given)
            name = self.name_of(given)
            if name is None:
                faults.append(Fault(where, f"an input of the policy: {named([*self.specs])}", "an unknown name"))
                continue
            if name in arrays:
                faults.append(Fault(where, f"the input {name} once", "it twice"))
                continue
            try:
                arrays[name] = self._read_one(name, value, where, batched)
            except SpecViolated as error:
                faults += error.faults
                continue
            rows = rows or len(arrays[name])
            if len(arrays[name]) != rows:
                faults.append(Fault(where, f"{rows} rows, as the inputs before it", str(len(arrays[name]))))
        missing = [spec.name for spec in self._observation if spec.name not in arrays]
        if missing and not faults:
            faults = [Fault(name, self.specs[name].label, "nothing") for name in missing]
        if faults:
            raise SpecViolated(faults[:MAX_FAULTS])
        return arrays, rows

    def _read_one(self, name: str, value: Any, where: str, batched: bool) -> AnyArray:  # -> [rows, *shape]
        spec = self.specs[name]
        if isinstance(value, np.ndarray | np.generic):
            array = check_shape(np.asarray(value), spec, where, batched, self._max_rows)
            # Faults name a row only where the request has rows.
            array = cast(array, spec, where) if batched else cast(array.reshape(spec.shape), spec, where)[np.newaxis]
        else:
            array = self._read_lists(spec, value, where, batched)
        # A run checks the observations of all its callers at once.
        if name not in self._observed and not all_finite(array):
            odd = np.isnan(array) if name == self._noise else ~np.isfinite(array)
            if odd.any():
                raise SpecViolated([_first_fault(odd, array, where, batched, f"finite {spec.dtype}")])
        if name == STEP_TYPE and name in self._time_step and not are_known(name, array):
            unknown = ~np.isin(array, (0, 1, 2))
            raise SpecViolated([_first_fault(unknown, array, where, batched, "0 (first), 1 (mid) or 2 (last)")])
        return array

    def _read_lists(self, spec: TensorSpec, value: Any, where: str, batched: bool) -> AnyArray:  # -> [rows, *shape]
        if batched and not (isinstance(value, list) and value):
            got = "0" if value == [] else describe(value)
            raise SpecViolated([Fault(where, f"an array of at least 1 {spec.label}", got)])
        given = value if batched else [value]
        check_rows(len(given), self._max_rows, where)
        rows, faults = self._readers[spec.name].read_rows(
            given, (lambda i: f"{where}[{i}]") if batched else lambda _: where
        )
        if faults:
            raise SpecViolated(faults)
        return rows  # type: ignore[no-any-return]  # one input: an array

    def _check_outputs(self, names: Sequence[str]) -> tuple[str, ...]:
        """The further outputs, without the action's tensors."""
        for name in names:
            if name not in self.results:
                expected = f"any of {named([*self.results])}"
                raise SpecViolated([Fault("outputs", expected, clipped(name))])
        return tuple(name for name in dict.fromkeys(names) if name not in self.actions)

    def _read_state(self, call: Call, arrays: Arrays, in_episode: bool) -> None:
        given = {spec.name: arrays[spec.name] for spec in self._state if spec.name in arrays}
        if given and len(given) < len(self._state):
            missing = next(spec for spec in self._state if spec.name not in given)
            raise SpecViolated([Fault(missing.name, f"{missing.label}, as the rest of the policy state", "nothing")])
        if RESET.name in arrays:
            call.reset = arrays[RESET.name]
        elif STEP_TYPE in arrays and STEP_TYPE in self._time_step:
            call.reset = arrays[STEP_TYPE] == FIRST
        if given:
            call.given_state = given
        if given or (call.begins and not in_episode):
            call.outputs = tuple(dict.fromkeys((*call.outputs, *self._next)))


def check_shape(array: AnyArray, spec: TensorSpec, where: str, batched: bool, max_rows: int) -> AnyArray:
    """The array with its batch dimension, which it lacks unless `batched`. Raises SpecViolated or BodyTooLarge."""
    rows = array.shape[0] if batched and array.ndim else 1
    expected = (rows, *spec.shape) if batched else spec.shape
    if array.shape != expected or rows < 1:
        shape = f"[{', '.join(map(str, ('B', *spec.shape) if batched else spec.shape))}]"
        raise SpecViolated([Fault(where, f"the shape {shape}", f"[{', '.join(map(str, array.shape))}]")])
    check_rows(rows, max_rows, where)
    return array if batched else array[np.newaxis]


def cast(array: AnyArray, spec: TensorSpec, where: str) -> AnyArray:
    """The numbers in the spec's dtype. Raises SpecViolated for one that the dtype cannot hold.

    A float may be rounded, and becomes infinite if it is too large; who runs the policy checks that.
    """
    dtype = spec.numpy_dtype
    if array.dtype.kind == "b":
        array = as_bool(array)
    if array.dtype == dtype:
        return np.require(array, requirements=["C", "A"])  # a view of received bytes may begin anywhere
    if array.dtype.kind not in "biuf":
        raise SpecViolated([Fault(where, spec.label, f"an array of {clipped(array.dtype)}")])
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype)
    if dtype.kind == "f":
        return converted
    unfit = beyond(array, dtype)
    if unfit.any():
        raise SpecViolated([_first_fault(unfit, array, where, True, spec.dtype)])
    return converted


def _first_fault(mask: AnyArray, array: AnyArray, where: str, batched: bool, expected: str) -> Fault:
    """The fault of the first number where the mask is true; its place names the row only if `batched`."""
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    place = "".join(f"[{i}]" for i in (index if batched else index[1:]))
    return Fault(where + place, expected, describe(array[index].item()))


def _spellings(manifest: Manifest, time_step: Iterable[str]) -> dict[str, str]:
    """The manifest's name of each input under its names in TF-Agents' signatures."""
    names: dict[str, str] = {}
    for spec in manifest.observation:
        path = "/".join(spec.path)
        for spelling in filter(None, (path, *_below("observation", path), *_below("0/observation", path))):
            names[spelling] = spec.name
    if len(manifest.observation) == 1:
        names |= dict.fromkeys(SOLE, manifest.observation[0].name)
    for name in time_step:
        names[f"0/{name}"] = name
    for spec in manifest.state:
        names["/".join(("1", *spec.path))] = spec.name
    return names


def _below(root: str, path: str) -> Iterator[str]:
    yield f"{root}/{path}" if path else root
