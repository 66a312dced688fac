"""`rlway export`: a trained run as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from rlway_client.commands.inspect import parity_table
from rlway_client.manifest import check_policy_name
from rlway_export.silence import quiet_tensorflow
from rlway_export.targets import DEFAULT_FORMATS, TARGETS, parse_formats


def export(
    run: Annotated[
        Path, typer.Argument(help="Run of `rlway train`, folder of PolicySavedModelTrigger, or SavedModel.")
    ],
    models: Annotated[Path, typer.Option(help="Folder of bundles; the next version goes to MODELS/POLICY/VERSION.")],
    policy: Annotated[str, typer.Option(help="Name under which the policy will be served.")],
    checkpoint: Annotated[str, typer.Option(help="best, latest, or a checkpoint's number.")] = "best",
    formats: Annotated[
        str, typer.Option(help=f"Comma-separated, of {', '.join(TARGETS)}. The SavedModel is always there.")
    ] = DEFAULT_FORMATS,
    observations: Annotated[
        Path | None,
        typer.Option(help="NPZ file of observations to compare over, an array by the name of each tensor, rows first."),
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", help="Module to import first, which defines types that a SavedModel refers to."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print bundle, version and parity as JSON.")] = False,
) -> None:
    """Convert a trained policy to other formats, prove that they act alike, and publish the bundle.

    Exits with 1 and publishes nothing when a file differs from the SavedModel by more than its threshold.
    """
    check_policy_name(policy)
    targets = parse_formats(formats)
    from rlway_export.open_source import open_source  # light; what is wrong is said before TensorFlow loads

    source = open_source(run, checkpoint)
    console = Console(stderr=True)

    def show(step: str) -> None:
        console.print(f"  {step}", style="yellow" if step.startswith("note: ") else "dim", markup=False, soft_wrap=True)

    with quiet_tensorflow():
        from rlway_export.bundle_writer import write_bundle
        from rlway_export.saved_policy import import_named

        for module in imports or ():
            import_named(module)
        bundle = write_bundle(source, models, policy, targets, show, observations)
    if as_json:
        summary = {"bundle": str(bundle.path), "version": bundle.manifest.version, "parity": bundle.manifest.parity}
        print(msgspec.json.encode(summary).decode())
    else:
        Console().print(parity_table(bundle.manifest))
        print(f"exported {policy} version {bundle.manifest.version} to {bundle.path}")
