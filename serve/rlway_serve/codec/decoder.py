"""Reads the body of an act request against a policy's spec.

In:      a media type and a body.
Out:     a `Call`.
Refuses: RequestMalformed (not JSON, not the protocol's shape), SpecViolated (every fault by its path),
         MediaTypeUnsupported, BodyTooLarge (too many rows, too much JSON).

There are two readers. msgspec checks shape and types in C while it parses; most valid requests need nothing else. What
it refuses is read again by `SlowReader`, which says exactly what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rlway_client.common import quote
from rlway_client.contract.errors import BodyTooLarge, MediaTypeUnsupported, RequestMalformed, SpecViolated
from rlway_client.contract.exploration import check_explore
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.specs import Fault
from rlway_serve.codec.action import ActionForm
from rlway_serve.codec.observation import ObservationForm
from rlway_serve.codec.slow_reader import SlowReader, check_rows, read_fields, too_many
from rlway_serve.codec.time_step import TimeStepForm
from rlway_serve.messages.call import AnyCall, Call, Caller
from rlway_serve.messages.request import NO_PIN, ActOptions, DeadlineMs, Pin
from rlway_serve.settings import Settings

COUNTED_FROM_BYTES = 16 * 1024  # in a larger body, commas are counted before it is parsed
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what msgspec raises for a body

# A body without any of these has no pin. A backslash may begin an escape that stands for one of their letters.
PIN_WORDS = (b"version", b"label", b"episode", b"first", b"\\")
_pin_decoder = msgspec.json.Decoder(Pin)


def read_pin(media_type: bytes, body: bytes, max_bytes: int) -> Pin:
    """The version, label and episode in a body, read before the rest: another version may have another spec.

    A body that cannot be read or is longer than `max_bytes` gets `NO_PIN`, and the active version will refuse it.
    """
    if is_octets(media_type) or len(body) > max_bytes or not any(word in body for word in PIN_WORDS):
        return NO_PIN
    try:
        return _pin_decoder.decode(body)
    except UNREADABLE:
        return read_fields(body, Pin) or NO_PIN


def is_octets(media_type: bytes) -> bool:
    """Whether the body is a raw tensor."""
    return media_type.partition(b";")[0].strip().lower() == b"application/octet-stream"


class ActDecoder:
    """The reader for one policy."""

    def __init__(self, manifest: Manifest, settings: Settings, in_episodes: bool = False) -> None:
        """`in_episodes`: every request has to be a step of an episode, though the policy may have no state."""
        self._draws = manifest.interface.noise_draws
        self._max_rows = settings.max_rows
        self._max_json_bytes = settings.max_json_bytes
        self._checked_from_bytes = min(COUNTED_FROM_BYTES, settings.max_json_bytes)
        self._form = ObservationForm(manifest.observation, manifest.meaning)
        self._time_step = TimeStepForm(manifest.time_step)
        # A body has about one comma per value, and some in its options.
        self._max_commas = settings.max_rows * (self._form.values + len(manifest.time_step)) + 1000
        self._outputs = frozenset(spec.name for spec in manifest.outputs)
        row: Any = self._form.row_type
        finite_row: Any = self._form.finite_row_type
        self._slow_reader = SlowReader(self._form, settings.max_rows)
        body_type = msgspec.defstruct(
            "ActRequest",
            [
                ("observation", row | UnsetType, UNSET),
                ("observations", Annotated[list[row], Meta(min_length=1)] | UnsetType, UNSET),
            ],
            bases=(ActOptions,),
            kw_only=True,
            forbid_unknown_fields=True,
        )
        self._decoder = msgspec.json.Decoder(body_type)
        plain = msgspec.defstruct(
            "PlainRequest",
            [("observation", finite_row), ("deadline_ms", DeadlineMs | None, None)],
            forbid_unknown_fields=True,
        )
        # Nearly every body holds one observation and at most a deadline. For others, `decode_plain` raises UNREADABLE.
        is_plain = self._form.plain and ActionForm(manifest.actions).plain
        may_be_plain = is_plain and not (in_episodes or manifest.state or manifest.time_step)
        self.decode_plain: Callable[[bytes], Any] = msgspec.json.Decoder(plain).decode
        self.max_plain_bytes = self._checked_from_bytes if may_be_plain else -1  # how long such a body may be
        self.plain_octets = self._form.row_dtype.itemsize if may_be_plain else -1  # the size of a raw observation

    def decode(self, media_type: bytes, body: bytes, caller: Caller) -> Call:
        """The request as a call. Its observations fit the spec, except for values that only `faults` checks.

        Raises RequestMalformed, SpecViolated, MediaTypeUnsupported or BodyTooLarge.
        """
        if is_octets(media_type):
            return self._decode_octets(body, caller)
        base = media_type.partition(b";")[0].strip().lower()
        if base not in (b"application/json", b""):
            got = base.decode("latin-1")[:100]
            raise MediaTypeUnsupported(
                f"content-type: expected application/json or application/octet-stream, got {got}."
            )
        if len(body) > self._checked_from_bytes:
            self._check_size(body)
        return self._decode_json(body, caller)

    def _decode_json(self, body: bytes, caller: Caller) -> Call:
        if self._form.row_type is None:
            return self._decode_slowly(body, caller)
        try:
            request: Any = self._decoder.decode(body)
        except UNREADABLE:
            return self._decode_slowly(body, caller)
        observations, batched = self._pick(request)
        rows = len(observations) if batched else 1
        if batched:
            check_rows(rows, self._max_rows)
        if not self._form.plain:
            observations = self._form.gather(observations if batched else [observations])
        return self._make_call(request, observations, rows, batched, caller)

    def _pick(self, request: Any) -> tuple[Any, bool]:
        """The observation or observations of a request, which has one of the two; and whether they are several."""
        if request.observation is not UNSET and request.observations is not UNSET:
            raise RequestMalformed("body: expected either `observation` or `observations`, got both.")
        if request.observation is not UNSET:
            return request.observation, False
        if request.observations is not UNSET:
            return request.observations, True
        raise RequestMalformed("body: expected `observation` or `observations`, got neither.")

    def _decode_slowly(self, body: bytes, caller: Caller) -> Call:
        """Raises what is wrong with a body that msgspec refused, or reads it where msgspec was only too strict."""
        read = self._slow_reader.read(body, _convert_options)
        observations, batched = self._pick(read)
        return self._make_call(read.options, observations, self._form.count(observations), batched, caller)

    def _make_call(self, options: Any, observations: Any, rows: int, batched: bool, caller: Caller) -> Call:
        call = Call(observations, rows, caller, batched=batched, deadline_ms=options.deadline_ms)
        call.seed = options.seed
        if options.explore is not None:
            check_explore(options.explore, self._draws)
            call.explore = options.explore
        if options.time_step is not None:
            call.time_step = self._time_step.read(options.time_step, rows, batched)
        if options.outputs:
            call.outputs = self._check_outputs(options.outputs)
        return call

    def _decode_octets(self, body: bytes, caller: Caller) -> Call:
        row_bytes = self._form.row_dtype.itemsize
        if not body or len(body) % row_bytes:
            expected = f"a multiple of {row_bytes} bytes ({self._form.label}, little-endian)"
            raise SpecViolated([Fault("body", expected, f"{len(body)} bytes")])
        rows = len(body) // row_bytes
        check_rows(rows, self._max_rows)
        return Call(self._form.read_rows(body), rows, caller, batched=True, raw=True)

    def _check_size(self, body: bytes) -> None:
        if len(body) > self._max_json_bytes:
            raise BodyTooLarge(
                f"body: expected at most {self._max_json_bytes} bytes of JSON; "
                "send the observations in several requests, or as application/octet-stream."
            )
        if body.count(b",") > self._max_commas:
            raise too_many("more", self._max_rows)

    def faults(self, call: AnyCall) -> list[Fault]:
        """The values of a decoded call that do not fit, by path: those not finite in their dtype, or in no table."""
        return self._form.faults(call.observations, call.rows, call.batched, call.named)

    def _check_outputs(self, names: list[str]) -> tuple[str, ...]:
        for i, name in enumerate(names):
            if name not in self._outputs:
                expected = f"one of {', '.join(sorted(self._outputs)) or 'none (this policy has only its action)'}"
                raise SpecViolated([Fault(f"outputs[{i}]", expected, name[:64])])
        return tuple(dict.fromkeys(names))


def _convert_options(raw: dict[str, Any]) -> ActOptions:
    try:
        return msgspec.convert(raw, ActOptions)
    except msgspec.ValidationError as error:
        raise RequestMalformed(f"body: {quote.reason(str(error))}.") from None
    except UnicodeEncodeError:
        raise RequestMalformed("body: a field is not Unicode text.") from None
