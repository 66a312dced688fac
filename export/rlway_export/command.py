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
    run: Annotated[Path, typer.Argument(help="Run folder, as `rlway train` leaves it.")],
    models: Annotated[Path, typer.Option(help="Folder of bundles; the next version goes to MODELS/POLICY/VERSION.")],
    policy: Annotated[str, typer.Option(help="Name under which the policy will be served.")],
    checkpoint: Annotated[str, typer.Option(help="best, latest, or a checkpoint's number.")] = "best",
    formats: Annotated[
        str, typer.Option(help=f"Comma-separated, of {', '.join(TARGETS)}. The SavedModel is always there.")
    ] = DEFAULT_FORMATS,
    as_json: Annotated[bool, typer.Option("--json", help="Print bundle, version and parity as JSON.")] = False,
) -> None:
    """Convert a trained policy to other formats, prove that they act alike, and publish the bundle.

    Exits with 1 and publishes nothing when a file differs from the SavedModel by more than its threshold.
    """
    check_policy_name(policy)
    targets = parse_formats(formats)
    from rlway_export.source import Source  # light; what is wrong with the run is said before TensorFlow loads

    source = Source.open(run, checkpoint)
    console = Console(stderr=True)
    with quiet_tensorflow():
        from rlway_export.bundle_writer import write_bundle

        bundle = write_bundle(source, models, policy, targets, lambda step: console.print(f"  {step}", style="dim"))
    if as_json:
        summary = {"bundle": str(bundle.path), "version": bundle.manifest.version, "parity": bundle.manifest.parity}
        print(msgspec.json.encode(summary).decode())
    else:
        Console().print(parity_table(bundle.manifest))
        print(f"exported {policy} version {bundle.manifest.version} to {bundle.path}")
