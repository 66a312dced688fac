"""`rlway serve`: the policies of a folder, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from rlway_serve.settings import Device, Settings


def serve(
    models: Annotated[Path, typer.Argument(help="Folder of bundles: models/<policy>/<version>/.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    poll_s: Annotated[
        float, typer.Option(help="How often the folder is looked at for new versions, seconds; 0: once.", min=0)
    ] = 1.0,
    keep_versions: Annotated[
        int, typer.Option(help="Newest versions that stay loaded, besides those with a label.", min=1)
    ] = 2,
    device: Annotated[Device, typer.Option(help="Where policies run; auto measures which is faster.")] = "auto",
    buckets: Annotated[
        bool | None, typer.Option("--buckets/--no-buckets", help="Pad runs to powers of two; by default on GPUs.")
    ] = None,
    batch_invariant: Annotated[
        bool,
        typer.Option("--batch-invariant", help="Runs of one size: an action's bits never depend on other callers."),
    ] = False,
    default: Annotated[str | None, typer.Option(help="Policy that answers POST /act.")] = None,
    max_batch: Annotated[int, typer.Option(help="Observations gathered into one run.", min=1)] = 256,
    queue_capacity: Annotated[int, typer.Option(help="Observations waiting per policy before 429.", min=1)] = 4096,
    max_body_bytes: Annotated[int, typer.Option(help="Largest request body, bytes.", min=1)] = 4 * 1024 * 1024,
    keep_alive_s: Annotated[float, typer.Option(help="Idle connections close after this, seconds.", min=0.1)] = 75.0,
    drain_s: Annotated[
        float, typer.Option(help="How long a stop waits for requests in flight, seconds.", min=0)
    ] = 10.0,
    api_keys: Annotated[Path | None, typer.Option(help="File of accepted API keys, one a line.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> None:
    """Answer observations with actions over HTTP, until SIGTERM or Ctrl-C.

    Prints one line when ready. Interactive documentation is at /docs, Prometheus metrics at /metrics.
    """
    import logging

    from rlway_serve.server import serve as run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = Settings(
        models=models,
        host=host,
        port=port,
        poll_s=poll_s,
        keep_versions=keep_versions,
        device=device,
        buckets=buckets,
        batch_invariant=batch_invariant,
        default_policy=default,
        max_batch=max_batch,
        queue_capacity=queue_capacity,
        max_body_bytes=max_body_bytes,
        keep_alive_s=keep_alive_s,
        drain_s=drain_s,
        api_keys=api_keys,
    )

    def announce(repository: Any, url: str) -> None:
        policies = [{"name": policy.name, "version": policy.version} for policy in repository if policy.ready]
        if json:
            print(msgspec.json.encode({"url": url, "policies": policies}).decode(), flush=True)
        else:
            names = ", ".join(f"{p['name']} v{p['version']}" for p in policies) or "nothing yet"
            print(f"serving {names} at {url}  (docs: {url}/docs)", flush=True)

    run(settings, announce)
