"""`rlway inspect`: what is in a bundle, in one of its ONNX files by itself, or in what an export could be made from.

In:      a path.
Out:     one screen, or JSON.
Refuses: a damaged bundle; a path that is none, where no installed package inspects other things.

Bundles are read here. Every other path goes to the entry point of the group `rlway.inspectors`, which rlway-export has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlway_client.common.packages import TRAINING, missing
from rlway_client.common.quote import named
from rlway_client.common.returns import show_together
from rlway_client.contract.bundle import Bundle, newest_bundle
from rlway_client.contract.errors import BundleInvalid, RuntimeMissing
from rlway_client.contract.frame_sentence import frame_sentence
from rlway_client.contract.fresh_return import FreshReturn
from rlway_client.contract.game_lines import FILES, Lines
from rlway_client.contract.guard import Guard
from rlway_client.contract.lookup_table import looked_up
from rlway_client.contract.manifest import Manifest, encode_manifest
from rlway_client.contract.meaning_sentences import meaning_sentences
from rlway_client.contract.model_files import ENGINES
from rlway_client.contract.nesting import places
from rlway_client.contract.parity_table import parity_table
from rlway_client.contract.sampling_sentences import sampling_sentences
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.onnx_metadata import holds_manifest, read_manifest

GROUP = "rlway.inspectors"
MANIFEST, SAVED_MODEL = "manifest.json", "saved_model.pb"
Inspector = Callable[[Path, bool], None]  # prints what it finds; as JSON where the second argument is true


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="models/<policy>/<version>, models/<policy> for the newest, an .onnx file; with rlway-export also "
            "whatever `rlway export` takes."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Show what a bundle holds, or what a policy is that was not exported yet.

    Every file of a bundle is compared with its checksum. An ONNX file of an export carries a manifest of its own,
    without parity and checksums; that is shown. For a SavedModel, a trigger's folder, a run or an ONNX file of another
    library, it shows who wrote it, what it takes and gives, and what an export would do. Nothing is written.
    """
    try:
        alone = path.suffix.lower() == ".onnx" and path.is_file() and holds_manifest(path)
        bundle = None if alone else _bundle(path)
    except OSError as error:
        raise BundleInvalid(f"{str(path)[:100]}: cannot be read: {error.strerror}.") from None
    if not alone and bundle is None:
        _inspector(path)(path, as_json)
        return
    opened = Bundle(path, read_manifest(path)) if bundle is None else Bundle.open(bundle)
    if as_json:
        print(encode_manifest(opened.manifest).decode(), end="")
    else:
        _show(opened, Console(), alone)


def _bundle(path: Path) -> Path | None:
    """The bundle that the path stands for; None if it stands for something else. Refuses a folder of several."""
    if _is_bundle(path):
        return newest_bundle(path)
    if path.is_file() and path.name != SAVED_MODEL and (path.parent / MANIFEST).is_file():
        return path.parent  # of which it is a file
    policies = [entry for entry in sorted(path.iterdir()) if _is_bundle(entry)] if path.is_dir() else []
    if policies:
        names = named([entry.name for entry in policies])
        raise BundleInvalid(f"{path}: holds the bundles of {names}; give one of them, such as {policies[0]}.")
    return None


def _is_bundle(path: Path) -> bool:
    try:
        return (newest_bundle(path) / MANIFEST).is_file()
    except PermissionError:  # of a folder beside others that may be read
        return False


def _inspector(path: Path) -> Inspector:
    """What inspects a path that is no bundle."""
    found = next(iter(entry_points(group=GROUP)), None)
    if found is not None:
        inspector: Inspector = found.load()
        return inspector
    if not path.exists():
        raise BundleInvalid(f"{path}: no such file or folder; give a bundle, models/<policy>/<version>.")
    raise RuntimeMissing(
        missing(f"{path}: is no bundle, and `rlway inspect` of it", "rlway-export", "rlway-export", TRAINING)
    )


def _show(bundle: Bundle, console: Console, alone: bool) -> None:
    manifest = bundle.manifest
    source = ", ".join(name for name in (manifest.algorithm, manifest.env) if name) or "a SavedModel of TF-Agents"
    console.print(f"[bold]{manifest.policy}[/] version {manifest.version}  ({source})")
    checked = "one file by itself" if alone else f"all {len(manifest.files)} checksums right"
    console.print(f"exported {manifest.created}, {checked}")
    fresh = FreshReturn.of(manifest.training)
    if fresh is not None:
        console.print(f"return {fresh.sentence}")
    for note in manifest.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(_tensors(manifest))
    frames = frame_sentence(manifest)
    if frames is not None:
        console.print(frames)
    for sentence in (*meaning_sentences(manifest), *sampling_sentences(manifest)):
        console.print(sentence, markup=False, soft_wrap=True)
    if manifest.parity:
        console.print(parity_table(manifest))
        if manifest.compared_over != "visited":
            console.print(f"compared over observations that were {manifest.compared_over}")
    if manifest.measured:
        console.print(measured_table(manifest))
    for file, lines in FILES.items():
        if file in (bundle.path.name, *manifest.files):
            console.print(_engine_tensors(file, lines(manifest)))
    if alone:
        return
    guard = bundle.read_guard()
    if guard is not None:
        console.print(guard_table(guard, manifest))
        console.print(", ".join(f"{rule}: {reaction}" for rule, reaction in guard.reactions.items()))
    files = Table("file", "bytes", "SHA-256", box=None, header_style="bold")
    for name, digest in manifest.files.items():
        files.add_row(name, f"{(bundle.path / name).stat().st_size:,}", digest[:12])
    console.print(files)


def _tensors(manifest: Manifest) -> Table:
    table = Table("tensor", "spec", "bounds", box=None, header_style="bold")
    keys = places(manifest.interface)  # of an observation or an action that is a dict or a tuple: on a second line
    for spec in (*manifest.interface.inputs, *manifest.interface.results):
        place = f"\n  {keys[spec.name]}" if spec.name in keys else ""
        table.add_row(escape(spec.name + place), spec.label, bounds_in_words(spec))
    return table


def _engine_tensors(file: str, lines: Lines) -> Table:
    table = Table(f"{ENGINES[file]}'s tensor", f"in {file} stands for", box=None, header_style="bold")
    for name, line in lines.items():
        table.add_row(escape(name), escape(line))
    return table


def bounds_in_words(spec: TensorSpec) -> str:
    """The lowest and the highest value of a tensor, and of what it looks up."""
    table = f"; looked up in a table: {looked_up(spec)}" if spec.is_lookup else ""
    if spec.minimum is None and spec.maximum is None:
        return f"unbounded{table}"
    return f"{_bound(spec.minimum, '-inf')} … {_bound(spec.maximum, 'inf')}{table}"


def _bound(bound: float | Sequence[float | None] | None, unbounded: str) -> str:
    if isinstance(bound, Sequence):
        shown = ", ".join(unbounded if b is None else f"{b:.3g}" for b in bound[:8])
        return f"[{shown}{', …' if len(bound) > 8 else ''}]"
    return unbounded if bound is None else f"{bound:g}"


def guard_table(guard: Guard, manifest: Manifest) -> Table:
    """The limits of each action tensor that the guard names."""
    table = Table("guarded", "range", "change per step", "per second", "safe", box=None, header_style="bold")
    for spec in manifest.actions:
        limits = guard.actions.get(spec.name)
        if limits is not None:
            ends = f"{_bound(limits.minimum, '-inf')} … {_bound(limits.maximum, 'inf')}"
            changes = (limits.change_per_step, limits.change_per_second)
            table.add_row(
                escape(spec.name), ends, *(_bound(change, "–") for change in changes), _bound(limits.safe, "–")
            )
    return table


def measured_table(manifest: Manifest) -> Table:
    """What was measured of each file, the SavedModel first; "–" for a file that takes no batches."""
    table = Table("file", "one action, µs", "times faster", "batch-invariant", box=None, header_style="bold")
    played = any(found.episodes for found in manifest.measured)
    if played:
        table.add_column("mean return")
    returns = iter(show_together([m.mean_return for m in manifest.measured if m.mean_return is not None]))
    for found in manifest.measured:
        faster = found.times_faster(manifest.measured[0])
        invariant = "yes" if found.batch_invariant else f"to {found.batch_difference:.0e}"
        table.add_row(
            found.file,
            "–" if found.action_us is None else f"{found.action_us:.2f}",
            "–" if faster is None else f"{faster:.1f}",
            "–" if found.batch_difference is None else invariant,
            *([next(returns)] if found.mean_return is not None else []),
        )
    return table
