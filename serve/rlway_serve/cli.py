"""`rlway serve`: the policies of a folder, over HTTP.

In:      a folder or a URL, and one flag for each option of `Settings`.
Out:     a server until SIGTERM or Ctrl-C; one line on stdout when it is ready.
Refuses: UsageError for options that contradict each other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec
import typer

from rlway_serve.settings import Option, Settings

Command = Callable[..., None]


def _with_flags(command: Command) -> Command:
    """Puts one flag for each setting in the place of the command's `**flags`; typer reads the signature."""
    models, json, _ = inspect.signature(command, eval_str=True).parameters.values()
    flags = [_flag(field) for field in msgspec.structs.fields(Settings) if get_origin(field.type) is Annotated]
    command.__signature__ = inspect.Signature([models, *flags, json])  # type: ignore[attr-defined]
    return command


def _flag(field: msgspec.structs.FieldInfo) -> inspect.Parameter:
    kind, option = get_args(field.type)
    assert isinstance(option, Option)
    names = [option.name] if option.name else []
    flag = typer.Option(*names, help=option.help, min=option.min, max=option.max, hidden=option.hidden)
    default = field.default
    if kind == tuple[str, ...]:  # which typer reads as a list
        kind, default = list[str] | None, None
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, flag]
    )


@_with_flags
def serve(
    models: Annotated[
        str,
        typer.Argument(help="Folder of bundles, models/<policy>/<version>/, or its URL, such as s3://bucket/models."),
    ],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
    **flags: Any,
) -> None:
    """Answer observations with actions, until SIGTERM or Ctrl-C.

    Over HTTP and WebSockets, in its own protocol and those of openpi, Triton, KServe and TensorFlow Serving; over gRPC
    with --grpc-port. Prints one line when ready. A page for the browser is at /ui/, the reference of all routes at
    /docs, Prometheus metrics at /metrics.
    """

    from rlway_client.contract.errors import UsageError
    from rlway_serve.process.launch import ServerReady, launch
    from rlway_serve.sync.store import is_url
    from rlway_serve.system.logging import log_to_stderr

    log_to_stderr()
    store = models if is_url(models) else None
    if flags["cache"] is not None and store is None:
        raise UsageError(f"--cache: {models} is on this machine already; only what lies at a URL is copied.")
    if flags["grpc_port"] and flags["grpc_port"] == flags["port"]:
        raise UsageError(f"--grpc-port {flags['grpc_port']}: expected another port than --port; 0 takes a free one.")
    flags["cors_origins"] = tuple(flags["cors_origins"] or ())
    settings = Settings(models=Path(models), store=store, **flags)

    def announce(ready: ServerReady) -> None:
        if json:
            print(msgspec.json.encode(ready).decode(), flush=True)
        else:
            names = ", ".join(f"{p['name']} v{p['version']}" for p in ready.policies) or "nothing yet"
            also = f" and gRPC at {ready.grpc}" if ready.grpc else ""
            shown = f"page: {ready.url}/ui/" if settings.ui else f"docs: {ready.url}/docs"
            print(f"serving {names} at {ready.url}{also}  ({shown})", flush=True)

    launch(settings, announce)
