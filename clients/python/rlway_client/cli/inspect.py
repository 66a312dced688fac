"""`rlway inspect`: what is in a bundle, or in one of its ONNX files by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlway_client.common.returns import show_together
from rlway_client.contract.bundle import Bundle, newest_bundle
from rlway_client.contract.lookup_table import looked_up
from rlway_client.contract.manifest import Manifest, encode_manifest
from rlway_client.contract.parity_table import parity_table
from rlway_client.contract.sampling_sentences import sampling_sentences
from rlway_client.contract.specs import TensorSpec
from rlway_client.local.onnx_metadata import read_manifest


def inspect(
    bundle: Annotated[
        Path, typer.Argument(help="models/<policy>/<version>, models/<policy> for the newest, or an .onnx file.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show what a bundle holds, after comparing every file with its checksum.

    An ONNX file carries a manifest of its own, without parity and checksums; that is shown.
    """
    alone = bundle.suffix == ".onnx" and not bundle.is_dir()
    opened = Bundle(bundle, read_manifest(bundle)) if alone else Bundle.open(newest_bundle(bundle))
    if as_json:
        print(encode_manifest(opened.manifest).decode(), end="")
    else:
        _show(opened, Console(), alone)


def _show(bundle: Bundle, console: Console, alone: bool) -> None:
    manifest = bundle.manifest
    source = ", ".join(name for name in (manifest.algorithm, manifest.env) if name) or "a SavedModel of TF-Agents"
    console.print(f"[bold]{manifest.policy}[/] version {manifest.version}  ({source})")
    checked = "one file by itself" if alone else f"all {len(manifest.files)} checksums right"
    console.print(f"exported {manifest.created}, {checked}")
    for note in manifest.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    console.print(_tensors(manifest))
    for sentence in sampling_sentences(manifest):
        console.print(sentence)
    if manifest.parity:
        console.print(parity_table(manifest))
        if manifest.compared_over != "visited":
            console.print(f"compared over observations that were {manifest.compared_over}")
    if manifest.measured:
        console.print(measured_table(manifest))
    if alone:
        return
    files = Table("file", "bytes", "SHA-256", box=None, header_style="bold")
    for name, digest in manifest.files.items():
        files.add_row(name, f"{(bundle.path / name).stat().st_size:,}", digest[:12])
    console.print(files)


def _tensors(manifest: Manifest) -> Table:
    table = Table("tensor", "spec", "bounds", box=None, header_style="bold")
    for whole, specs in (("observation", manifest.interface.inputs), ("action", manifest.interface.results)):
        for spec in specs:
            table.add_row(escape(spec.name + _keys(spec, whole)), spec.label, _bounds(spec))
    return table


def _keys(spec: TensorSpec, whole: str) -> str:
    """A second line for a tensor's name: where it lies in an observation or action that is a dict or a tuple."""
    return f"\n  {whole}{''.join(f'[{json.dumps(key)}]' for key in spec.path)}" if spec.path else ""


def _bounds(spec: TensorSpec) -> str:
    table = f"; looked up in a table: {looked_up(spec)}" if spec.is_lookup else ""
    if spec.minimum is None and spec.maximum is None:
        return f"unbounded{table}"
    return f"{_bound(spec.minimum, '-inf')} … {_bound(spec.maximum, 'inf')}{table}"


def _bound(bound: float | list[float | None] | None, unbounded: str) -> str:
    if isinstance(bound, list):
        shown = ", ".join(unbounded if b is None else f"{b:.3g}" for b in bound[:8])
        return f"[{shown}{', …' if len(bound) > 8 else ''}]"
    return unbounded if bound is None else f"{bound:g}"


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
