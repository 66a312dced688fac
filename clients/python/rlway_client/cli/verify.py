"""`rlway verify`: whether a bundle is whole, and its files act alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from rlway_client.contract.bundle import Bundle, newest_bundle
from rlway_client.local.verification import Verdict, verify_bundle


def verify(
    bundle: Annotated[Path, typer.Argument(help="models/<policy>/<version>, or models/<policy> for the newest.")],
    compile_c: Annotated[
        bool, typer.Option("--compile-c", help="Compile and run policy.c, too: only from a source that you trust.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print bundle, checksums and files as JSON.")] = False,
) -> None:
    """Compare every file with its checksum, and the answers of those that can be run here with the SavedModel's.

    The bundle keeps some observations with the SavedModel's answers, so this needs no TensorFlow: onnxruntime for ONNX,
    LiteRT for TFLite. Files whose runtime is not installed are reported as not run. Exits with 1 when a file is damaged
    or acts differently.
    """
    opened = Bundle.open(newest_bundle(bundle))
    verdicts = verify_bundle(opened, compile_c=compile_c)
    if as_json:
        result = {"bundle": str(opened.path), "checksums": len(opened.manifest.files), "files": verdicts}
        print(msgspec.json.encode(result).decode())
    else:
        _show(opened, verdicts, Console())
    if any(verdict.verdict == "different" for verdict in verdicts):
        raise typer.Exit(1)


def _show(bundle: Bundle, verdicts: list[Verdict], console: Console) -> None:
    console.print(f"{bundle.path}: all {len(bundle.manifest.files)} checksums right")
    table = Table("file", "verdict", "", box=None, header_style="bold")
    for verdict in verdicts:
        table.add_row(verdict.file, verdict.verdict, verdict.why)
    console.print(table)
