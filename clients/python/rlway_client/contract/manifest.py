"""What a bundle says of itself: `manifest.json`, and the same text inside the ONNX file's metadata.

In:      JSON bytes.
Out:     `Manifest`.
Refuses: another schema version, missing or mistyped fields, fields that contradict one another.

docs/manifest.schema.json says what the types say, and `check_promises` what no schema can say.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from rlway_client.common import quote
from rlway_client.contract.errors import BundleInvalid, UsageError
from rlway_client.contract.interface import Interface
from rlway_client.contract.specs import TensorSpec

MANIFEST_SCHEMA: Final = 1
METADATA_KEY = "rlway.manifest"  # in the ONNX file's metadata_props
POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_IN_WORDS = "1 to 64 letters, digits, '.', '_' or '-', not starting with a sign"
# A relative path with `/` between its parts, which stays within the bundle: no part is empty, `.` or `..`.
_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f-\x9f\u2028\u2029]+"
FILE_NAME = re.compile(rf"{_PART}(?:/{_PART})*")


def _whole(pattern: re.Pattern[str]) -> Meta:
    """A pattern that the whole text has to match, in Python's and in JSON Schema's dialect."""
    return Meta(pattern=rf"^(?:{pattern.pattern})$(?!\n)")


PolicyName = Annotated[str, _whole(POLICY_NAME)]
FileName = Annotated[str, _whole(FILE_NAME)]


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """One exported file against the SavedModel it came from, over `observations` rows."""

    file: str
    observations: int  # how many rows were compared
    batch_sizes: list[int]  # in how large batches the file was run
    max_difference: float  # of actions (continuous) or Q-values (discrete; 0 without them), absolute
    mean_difference: float
    state_difference: float | None = None  # the largest of what a policy with a memory remembers, absolute
    argmax_flips: int  # rows whose discrete action differs
    smallest_flip_gap: float | None  # the smallest gap of the two best Q-values among them; None without flips
    passed: bool
    threshold: str  # what `passed` means for this file, in words
    # The same in numbers, for whoever compares again; None in manifests of before they were written down.
    allowed_difference: float | None = None  # absolute, as max_difference
    allowed_flips: float | None = None  # the share of rows; None allows flips of near ties only
    allowed_state_difference: float | None = None  # absolute, as state_difference


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one file by itself, on the machine that exported it.

    `saved_model.pb` stands for the SavedModel and its own `action`, from which the others were made.
    """

    file: str
    action_us: float | None  # the median time of one action; None: a file for other machines than that
    batch_sizes: list[int]  # in how large batches it was run
    batch_difference: float | None  # the most that these change of an observation's values; None: it takes single ones
    batch_changed_actions: int | None  # for how many of the observations they change the action
    episodes: int = 0
    mean_return: float | None = None  # over so many episodes, which begin alike for all files; None: none were played

    def times_faster(self, than: Measured) -> float | None:
        """How many of its actions take as long as one of the other's."""
        return than.action_us / self.action_us if self.action_us and than.action_us else None

    @property
    def batch_invariant(self) -> bool:
        """Whether an observation's values are the same to the bit, whatever batch it shares."""
        return not self.batch_difference


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What the values of one input were like in the observations of the parity, inclusive.

    Both ends are one number for every value of the input, or one per value in row-major order.
    """

    name: str
    rows: int  # how many observations these are: others lie outside by chance in at least 2 of `rows` cases
    minimum: float | list[float]
    maximum: float | list[float]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`: all that a server or a robot must know to run the policy."""

    schema_version: Literal[1]
    policy: PolicyName
    version: Annotated[int, Meta(ge=1)]
    algorithm: str | None  # None, as with `env`: the source did not say
    env: str | None
    observation: Annotated[list[TensorSpec], Meta(min_length=1)]  # the leaves, in the order of the model's inputs
    action: TensorSpec
    action_values: list[float] | None = None  # of a discretised environment: the value behind each discrete action
    max_episode_steps: int | None = None  # the clock that ended its training episodes
    noise: TensorSpec | None  # None when the source had no noise input: greedy only
    state: list[TensorSpec] = []  # goes in with `reset`, and comes out as `next_<name>`
    outputs: list[TensorSpec] = []  # besides the action and the state: `q_values`, or `loc` and `scale`
    training: dict[str, Any] = {}
    notes: list[str] = []  # what its reader should know of the source, a sentence each
    parity: list[Parity] = []
    # Where the observations of the parity come from: the trained policy's episodes, a file, or uniform draws.
    compared_over: Literal["visited", "given", "sampled"] = "visited"
    observed: list[Observed] = []  # by input; empty where they were sampled, and in bundles of before this was noted
    measured: list[Measured] = []  # the SavedModel and every file; empty in bundles of before these were measured
    files: dict[FileName, str] = {}  # relative path → SHA-256; empty in the copy inside the ONNX file
    versions: dict[str, str] = {}
    created: str = ""  # UTC, ISO 8601

    @property
    def interface(self) -> Interface:
        return Interface(self.observation, self.action, self.noise, self.state, self.outputs)


def decode_manifest(content: bytes, where: str) -> Manifest:
    """Reads a manifest; `where` names its place in error messages."""
    try:
        raw = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleInvalid(f"{where}: not JSON: {error}.") from error
    if isinstance(raw, dict):
        raw = {name: value if name == "training" else _with_whole_numbers(value) for name, value in raw.items()}
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is not int or version != MANIFEST_SCHEMA:
        raise BundleInvalid(
            f"{where}: manifest schema version {version!r} is not known here (expected {MANIFEST_SCHEMA}); "
            f"use the RLway that wrote it, or export again."
        )
    try:
        manifest = msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise BundleInvalid(f"{where}: {_explain(str(error), raw)}.") from error
    try:
        check_promises(manifest)
    except ValueError as error:
        raise BundleInvalid(f"{where}: {error}; export the policy again.") from error
    return manifest


def _explain(sentence: str, raw: Any) -> str:
    """msgspec's sentence, in words where it would quote a pattern."""
    if "matching regex" not in sentence:
        return quote.reason(sentence, 200)
    name = next((name for name in raw.get("files") or {} if not FILE_NAME.fullmatch(name)), None)
    if name is None:
        return f"policy: expected {NAME_IN_WORDS}"
    return f"files: {name[:64]!r} is not the name of a file within the bundle"


def _with_whole_numbers(value: Any) -> Any:
    """JSON has one kind of number: 1.0 is a whole one, as its schemas have it."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return list(map(_with_whole_numbers, value))
        case dict():
            return {key: _with_whole_numbers(part) for key, part in value.items()}
    return value


def check_promises(manifest: Manifest) -> None:
    """Raises ValueError where fields of a manifest contradict one another, or what everybody relies on."""
    action, noise = manifest.action, manifest.noise
    if action.name != "action":
        raise ValueError(f"action: expected the name 'action', got {action.name[:64]!r}")
    if noise is not None and (noise.name != "noise" or noise.dtype != "float32" or len(noise.shape) != 1):
        raise ValueError(f"noise: expected the name 'noise' and float32[n], got {noise.name[:64]!r} and {noise.label}")
    for kind, specs in (("inputs", manifest.interface.inputs), ("outputs", manifest.interface.results)):
        names = [spec.name for spec in specs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{kind}: expected a name of its own for each, got {twice[:64]!r} twice")
    _check_paths([spec.path for spec in manifest.observation])
    values = manifest.action_values
    if values is not None and (not action.is_discrete or action.shape or len(values) != _count_actions(action)):
        raise ValueError(f"action_values: expected one per action, got {len(values)} for {action.label}")


def _check_paths(paths: list[tuple[str, ...]]) -> None:
    """An observation is one tensor, or an object whose keys lead to one tensor each."""
    if paths == [()]:
        return
    for path in paths:
        inside = [other for other in paths if other[: len(path)] == path]
        if not path or len(inside) > 1:
            raise ValueError(f"observation: expected one tensor at the path {list(path)}, got {len(inside)}")


def _count_actions(action: TensorSpec) -> float:
    low, high = action.bounds()
    return float(high - low) + 1


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def check_policy_name(name: str) -> str:
    """The name itself, or a UsageError that says what a name may hold."""
    if not POLICY_NAME.fullmatch(name):
        raise UsageError(f"policy name {name!r}: expected {NAME_IN_WORDS}.")
    return name
