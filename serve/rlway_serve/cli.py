"""`rlway serve`: the policies of a folder, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rlway_serve.settings import Device, Settings


def serve(
    models: Annotated[
        str,
        typer.Argument(help="Folder of bundles, models/<policy>/<version>/, or its URL, such as s3://bucket/models."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    poll_s: Annotated[
        float | None,
        typer.Option(
            help="How often the folder is looked at for new versions, seconds; 0: once. By default 1, and 10 at a URL.",
            min=0,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps the copies of what lies at a URL; a temporary one by default."),
    ] = None,
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
    workers: Annotated[int, typer.Option(help="Processes that share the port.", min=1, max=256)] = 1,
    max_batch: Annotated[int, typer.Option(help="Observations gathered into one run.", min=1)] = 512,
    max_rows: Annotated[int, typer.Option(help="Observations of one request.", min=1)] = 4096,
    queue_capacity: Annotated[int, typer.Option(help="Observations waiting per policy before 429.", min=1)] = 4096,
    max_in_flight: Annotated[
        int, typer.Option(help="Requests of one connection that may wait for their answers.", min=1)
    ] = 64,
    max_connections: Annotated[int, typer.Option(help="Connections of one worker.", min=1)] = 4096,
    max_header_bytes: Annotated[int, typer.Option(help="Largest request headers, bytes.", min=1024)] = 32 * 1024,
    max_body_bytes: Annotated[int, typer.Option(help="Largest request body, bytes.", min=1)] = 4 * 1024 * 1024,
    max_json_bytes: Annotated[int, typer.Option(help="Largest JSON body, bytes.", min=1)] = 1024 * 1024,
    max_buffered_bytes: Annotated[
        int, typer.Option(help="Large request bodies of one worker together, bytes.", min=1)
    ] = 256 * 1024 * 1024,
    header_timeout_s: Annotated[
        float, typer.Option(help="A request's headers must be complete after this, seconds.", min=0.01)
    ] = 10.0,
    body_timeout_s: Annotated[float, typer.Option(help="And its body this long after them, seconds.", min=0.01)] = 30.0,
    max_rate: Annotated[
        float | None, typer.Option(help="Requests per second of one key or address; none by default.", min=1e-6)
    ] = None,
    keep_alive_s: Annotated[float, typer.Option(help="Idle connections close after this, seconds.", min=0.1)] = 75.0,
    episode_ttl_s: Annotated[
        float, typer.Option(help="Episodes that nobody asks for end after this, seconds.", min=0.01)
    ] = 600.0,
    max_episodes: Annotated[int, typer.Option(help="Episodes of one worker; the longest unused ends.", min=1)] = 10_000,
    drain_s: Annotated[
        float, typer.Option(help="How long a stop waits for requests in flight, seconds.", min=0)
    ] = 10.0,
    api_keys: Annotated[
        Path | None, typer.Option(help="File of accepted API keys, one a line; also RLWAY_API_KEYS.")
    ] = None,
    admin_keys: Annotated[
        Path | None, typer.Option(help="File of keys that /metrics asks for; also RLWAY_ADMIN_KEYS.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM; makes it HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.")] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may ask from a browser; may be repeated.")
    ] = None,
    access_log: Annotated[str | None, typer.Option(help="File for one JSON line per request; - for stdout.")] = None,
    otel: Annotated[
        bool | None,
        typer.Option("--otel/--no-otel", help="Send traces by OTLP/HTTP; by default if OTEL_… variables say so."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> None:
    """Answer observations with actions over HTTP, until SIGTERM or Ctrl-C.

    Prints one line when ready. Interactive documentation is at /docs, Prometheus metrics at /metrics.
    """

    from rlway_client.contract.errors import UsageError
    from rlway_serve.process.launch import Facts
    from rlway_serve.process.launch import serve as run
    from rlway_serve.sync.store import is_url
    from rlway_serve.system.logging import log_to_stderr

    log_to_stderr()
    store = models if is_url(models) else None
    if cache is not None and store is None:
        raise UsageError(f"--cache: {models} is on this machine already; only what lies at a URL is copied.")
    settings = Settings(
        models=Path(models),
        store=store,
        cache=cache,
        host=host,
        port=port,
        poll_s=1.0 if poll_s is None else min(1.0, poll_s) if store else poll_s,
        store_poll_s=10.0 if poll_s is None else poll_s,
        keep_versions=keep_versions,
        device=device,
        buckets=buckets,
        batch_invariant=batch_invariant,
        default_policy=default,
        workers=workers,
        max_batch=max_batch,
        max_rows=max_rows,
        queue_capacity=queue_capacity,
        max_in_flight=max_in_flight,
        max_connections=max_connections,
        max_header_bytes=max_header_bytes,
        max_body_bytes=max_body_bytes,
        max_json_bytes=max_json_bytes,
        max_buffered_bytes=max_buffered_bytes,
        header_timeout_s=header_timeout_s,
        body_timeout_s=body_timeout_s,
        max_rate=max_rate,
        keep_alive_s=keep_alive_s,
        episode_ttl_s=episode_ttl_s,
        max_episodes=max_episodes,
        drain_s=drain_s,
        api_keys=api_keys,
        admin_keys=admin_keys,
        tls_cert=tls_cert,
        tls_key=tls_key,
        cors_origins=tuple(cors_origin or ()),
        access_log=access_log,
        otel=otel,
    )

    def announce(facts: Facts) -> None:
        if json:
            print(msgspec.json.encode(facts).decode(), flush=True)
        else:
            names = ", ".join(f"{p['name']} v{p['version']}" for p in facts.policies) or "nothing yet"
            print(f"serving {names} at {facts.url}  (docs: {facts.url}/docs)", flush=True)

    run(settings, announce)
