"""What a bundle says of itself: `manifest.json`, and the same text inside the ONNX file's metadata.

In:      JSON bytes.
Out:     `Manifest`.
Refuses: another schema version, missing or mistyped fields.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from rlway_client.errors import BundleInvalid, UsageError
from rlway_client.interface import Interface
from rlway_client.specs import TensorSpec

MANIFEST_SCHEMA = 1
METADATA_KEY = "rlway.manifest"  # in the ONNX file's metadata_props
POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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

    schema_version: int = MANIFEST_SCHEMA
    policy: str
    version: int
    algorithm: str | None  # None, as with `env`: the source did not say
    env: str | None
    observation: list[TensorSpec]  # the leaves, in the order of the model's inputs
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
    files: dict[str, str] = {}  # relative path → SHA-256; empty in the copy inside the ONNX file
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
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is not int or version != MANIFEST_SCHEMA:
        raise BundleInvalid(
            f"{where}: manifest schema version {version!r} is not known here (expected {MANIFEST_SCHEMA}); "
            f"use the RLway that wrote it, or export again."
        )
    try:
        manifest = msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise BundleInvalid(f"{where}: {error}.") from error
    if not POLICY_NAME.fullmatch(manifest.policy) or manifest.version < 1:
        raise BundleInvalid(f"{where}: policy {manifest.policy!r} version {manifest.version} is not a valid name.")
    for name in manifest.files:
        if not is_inside(name):
            raise BundleInvalid(f"{where}: files: {name[:64]!r} is not the name of a file within the bundle.")
    return manifest


def is_inside(name: str) -> bool:
    """Whether a relative path, with `/` between its parts, stays where it begins."""
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(name.split("/"))


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def check_policy_name(name: str) -> str:
    """The name itself, or a UsageError that says what a name may hold."""
    if not POLICY_NAME.fullmatch(name):
        raise UsageError(
            f"policy name {name!r}: expected 1 to 64 letters, digits, '.', '_' or '-', not starting with a sign."
        )
    return name
