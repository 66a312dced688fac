"""The description that a bundle carries: `manifest.json`, and the same text in the ONNX file's metadata.

In:      JSON bytes.
Out:     `Manifest`.
Refuses: another schema version, missing or mistyped fields, fields that contradict one another (BundleInvalid).

docs/manifest.schema.json is generated from the types; `check_promises` checks what no schema can express.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from rlway_client.common import quote
from rlway_client.contract.errors import BundleInvalid, SpecViolated, UsageError
from rlway_client.contract.exploration import Explore, check_explore
from rlway_client.contract.interface import TIME_STEP, Draw, Interface
from rlway_client.contract.meaning import Meaning, check_meaning
from rlway_client.contract.specs import MOST_FRAMES, TensorSpec

MANIFEST_SCHEMA: Final = 1
METADATA_KEY = "rlway.manifest"  # in the ONNX file's metadata_props
POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_IN_WORDS = "1 to 64 letters, digits, '.', '_' or '-', not starting with a sign"
# A relative path with `/` between its parts, which stays within the bundle: no part is empty, `.` or `..`.
_PART = r"(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f-\x9f\u2028\u2029]+"
FILE_NAME = re.compile(rf"{_PART}(?:/{_PART})*")


def _whole(pattern: re.Pattern[str]) -> Meta:
    """A pattern that the whole text has to match, both in Python's dialect and in JSON Schema's."""
    return Meta(pattern=rf"^(?:{pattern.pattern})$(?!\n)")


PolicyName = Annotated[str, _whole(POLICY_NAME)]
FileName = Annotated[str, _whole(FILE_NAME)]


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How one exported file compares with the SavedModel that it was made from, over `observations` rows."""

    file: str
    observations: int  # how many rows were compared
    batch_sizes: list[int]  # the batch sizes with which the file was run
    max_difference: float  # of actions (continuous), Q-values (discrete; 0 without them) and `info_…`, absolute
    mean_difference: float
    state_difference: float | None = None  # the largest of the policy state, absolute; None without state
    argmax_flips: int  # rows whose discrete action differs
    smallest_flip_gap: float | None  # the smallest gap of the two best Q-values among them; None without flips
    passed: bool
    threshold: str  # what `passed` means for this file, in words
    # The same limits in numbers, for a later comparison; None in manifests written before these fields existed.
    allowed_difference: float | None = None  # absolute, as max_difference
    allowed_flips: float | None = None  # the share of rows; None allows flips of near ties only
    allowed_state_difference: float | None = None  # absolute, as state_difference
    largest: dict[
        str, float
    ] = {}  # of several compared outputs without bounds, by name: the value that 100% stands for


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one file, on the machine that exported it.

    `saved_model.pb` stands for the SavedModel and its own `action` method, from which the other files were made.
    """

    file: str
    action_us: float | None  # the median time of one action; None for a file that this machine does not run
    batch_sizes: list[int]  # the batch sizes with which it was run
    batch_difference: float | None  # the most that the batch size changes a value; None: it takes single rows
    batch_changed_actions: int | None  # for how many observations it changes the action
    episodes: int = 0
    mean_return: float | None = None  # over that many episodes, with equal seeds for all files; None without any

    def times_faster(self, than: Measured) -> float | None:
        """How many actions it gives in the time that the other takes for one."""
        return than.action_us / self.action_us if self.action_us and than.action_us else None

    @property
    def batch_invariant(self) -> bool:
        """Whether an observation's values are the same to the bit in a batch of any size."""
        return not self.batch_difference


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The range of one input's values in the observations of the parity check, bounds included.

    Each bound is one number for all values of the input, or one per value in row-major order.
    """

    name: str
    rows: int  # how many observations; of `rows` others, at least 2 lie outside by chance
    minimum: float | list[float]
    maximum: float | list[float]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the source chose its actions before the export made inputs of its draws, and how that was compared.

    `sampled`: by draws from its distribution. `epsilon-greedy`: greedily, but uniformly with probability `epsilon`.
    Over `rows` actions for each of `observations` observations, the source's own actions were compared with those of
    the exported graph: `p_value` is the smallest of `tests` two-sample tests, and below `level` none may be published.
    """

    kind: Literal["sampled", "epsilon-greedy"]
    epsilon: float | None = None  # None also where it is not a constant
    observations: int = 0
    rows: int = 0
    tests: int = 0
    p_value: float | None = None
    level: float | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`: everything that a server or a robot needs to know to run the policy."""

    schema_version: Literal[1]
    policy: PolicyName
    version: Annotated[int, Meta(ge=1)]
    algorithm: str | None  # None, as with `env`: the source did not say
    env: str | None
    observation: Annotated[list[TensorSpec], Meta(min_length=1)]  # the leaves, in the order of the model's inputs
    action: TensorSpec | Annotated[list[TensorSpec], Meta(min_length=1)]  # a list of leaves for a dict or a tuple
    action_values: list[float] | None = None  # of a discretised environment: the value behind each discrete action
    max_episode_steps: int | None = None  # the time limit of its training episodes
    frame_stack: Annotated[int, Meta(ge=1, le=MOST_FRAMES)] = (
        1  # how many frames of the environment are one observation
    )
    meaning: Meaning | None = None  # what the numbers stand for, if anyone has said it
    noise: TensorSpec | None  # None when the source had no noise input: greedy only
    draws: list[Draw] = []  # what `noise` consists of; empty: one draw, Gumbel for a discrete action, else normal
    explore: Explore | None = None  # what a server does where a request does not say; None: it acts greedily
    sampling: Sampling | None = None  # None: the source was greedy, or had a noise input of its own
    time_step: list[TensorSpec] = []  # what the policy reads of `reward`, `discount` and `step_type`
    state: list[TensorSpec] = []  # goes in with `reset`, and comes out as `next_<name>`
    outputs: list[TensorSpec] = []  # besides the action and the state: `q_values`, or `loc` and `scale`
    # Of a run: checkpoint, seed, preset, steps, iterations, wall_s, evaluated_return, final_return with final_interval
    # (95%) and final_episodes, chosen_among, random_return, hyperparameters, versions. Of a file: its SHA-256.
    training: dict[str, Any] = {}
    notes: list[str] = []  # what a reader should know of the source, one sentence each
    parity: list[Parity] = []
    # Where the observations of the parity check come from: the trained policy's episodes, a file, or uniform draws.
    compared_over: Literal["visited", "given", "sampled"] = "visited"
    observed: list[Observed] = []  # by input; empty if they were sampled, and in older bundles
    measured: list[Measured] = []  # the SavedModel and every file; empty in older bundles
    files: dict[FileName, str] = {}  # relative path → SHA-256; empty in the copy inside the ONNX file
    versions: dict[str, str] = {}
    created: str = ""  # UTC, ISO 8601

    @property
    def actions(self) -> list[TensorSpec]:
        """The action's tensors."""
        return [self.action] if isinstance(self.action, TensorSpec) else self.action

    @property
    def interface(self) -> Interface:
        return Interface(
            self.observation, self.actions, self.noise, self.state, self.outputs, self.time_step, self.draws
        )


def tensor_fields(interface: Interface) -> dict[str, Any]:
    """The fields of a manifest that tell of the policy's tensors."""
    fields = interface._asdict()
    first, *further = actions = fields.pop("actions")
    lists = {name: [*fields[name]] for name in ("time_step", "draws")}
    return {**fields, **lists, "action": actions if further or first.path else first}


def decode_manifest(content: bytes, where: str) -> Manifest:
    """Reads a manifest; `where` names its place in error messages. Raises BundleInvalid."""
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
    """msgspec's sentence; one that quotes a pattern is put into words."""
    if "matching regex" not in sentence:
        return quote.reason(sentence, 200)
    name = next((name for name in raw.get("files") or {} if not FILE_NAME.fullmatch(name)), None)
    if name is None:
        return f"policy: expected {NAME_IN_WORDS}"
    return f"files: {name[:64]!r} is not the name of a file within the bundle"


def _with_whole_numbers(value: Any) -> Any:
    """Turns 1.0 into 1: JSON has one kind of number, and its schemas take 1.0 for an integer."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return list(map(_with_whole_numbers, value))
        case dict():
            return {key: _with_whole_numbers(part) for key, part in value.items()}
    return value


def check_promises(manifest: Manifest) -> None:
    """Raises ValueError if fields of a manifest contradict one another, or break what every reader relies on."""
    actions, noise = manifest.actions, manifest.noise
    for spec in actions:
        expected = "'action_…'" if spec.path else "'action'"
        if not (spec.name.startswith("action_") if spec.path else spec.name == "action"):
            raise ValueError(f"action: expected the name {expected}, got {spec.name[:64]!r}")
    if noise is not None and (noise.name != "noise" or noise.dtype != "float32" or len(noise.shape) != 1):
        raise ValueError(f"noise: expected the name 'noise' and float32[n], got {noise.name[:64]!r} and {noise.label}")
    for kind, specs in (("inputs", manifest.interface.inputs), ("outputs", manifest.interface.results)):
        names = [spec.name for spec in specs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{kind}: expected a name of its own for each, got {twice[:64]!r} twice")
    _check_paths("observation", [spec.path for spec in manifest.observation])
    _check_paths("action", [spec.path for spec in actions])
    _check_draws(manifest)
    odd = next((spec.name for spec in manifest.time_step if TIME_STEP.get(spec.name) != spec.label), None)
    if odd is not None:
        raise ValueError(f"time_step: expected {', '.join(TIME_STEP)}, got {odd[:64]!r} or another type")
    if manifest.meaning is not None:
        check_meaning(manifest.meaning, [*manifest.observation, *actions, *manifest.state], actions)
    values, action = manifest.action_values, actions[0]
    is_one = len(actions) == 1 and action.is_discrete and not action.shape
    if values is not None and not (is_one and len(values) == _count_actions(action)):
        raise ValueError(f"action_values: expected one per action, got {len(values)} for {action.label}")


def _check_draws(manifest: Manifest) -> None:
    """Raises ValueError unless the draws take every element of the noise, and the default exploration fits them."""
    size = manifest.noise.size if manifest.noise else 0
    drawn = sum(draw.size for draw in manifest.draws)
    if manifest.draws and drawn != size:
        raise ValueError(f"draws: expected {size} numbers in all, as noise has, got {drawn}")
    if manifest.explore is not None:
        try:
            check_explore(manifest.explore, manifest.interface.noise_draws)
        except SpecViolated as error:
            raise ValueError(f"explore: {error}") from None


def _check_paths(what: str, paths: list[tuple[str, ...]]) -> None:
    """Raises ValueError unless it is one tensor, or an object whose keys lead to one tensor each."""
    if paths == [()]:
        return
    for path in paths:
        inside = [other for other in paths if other[: len(path)] == path]
        if not path or len(inside) > 1:
            raise ValueError(f"{what}: expected one tensor at the path {list(path)}, got {len(inside)}")


def _count_actions(action: TensorSpec) -> float:
    low, high = action.bounds()
    return float(high - low) + 1


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def check_policy_name(name: str) -> str:
    """Returns the name. Raises UsageError, which says what a name may hold."""
    if not POLICY_NAME.fullmatch(name):
        raise UsageError(f"policy name {name!r}: expected {NAME_IN_WORDS}.")
    return name
