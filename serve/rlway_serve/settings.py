"""How a server behaves: every option with its unit, its default, its bounds and its help, in one value.

In:      the options of `rlway serve`.
Out:     `Settings`; `rlway_serve.cli` makes a flag of every field that has an `Option`.

A field's name is its flag's, unless the `Option` says otherwise. Names end with the unit: `_s` seconds, `_bytes` bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from rlway_client.common.quote import named
from rlway_client.contract.errors import UsageError

Device = Literal["auto", "cpu", "cuda", "tensorrt"]

PROTOCOLS = ("openpi", "oip", "tfs")  # besides the native one
FOLDER_POLL_S, STORE_POLL_S = 1.0, 10.0  # where `--poll-s` is not given


class Option(NamedTuple):
    """How a setting appears on the command line."""

    help: str
    min: float | None = None
    max: float | None = None
    name: str | None = None  # where it is not the field's name
    hidden: bool = False  # from help and documentation


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All options of a server. A field without an `Option` comes from the command's one argument."""

    models: Path  # on this machine
    store: str | None = None  # the URL that `models` is copied from

    host: Annotated[
        str, Option("Address to listen on; 0.0.0.0 for all of IPv4. With it, gRPC listens on IPv6, too.")
    ] = "127.0.0.1"
    port: Annotated[int, Option("Port for HTTP and WebSockets; 0 takes a free one.", min=0, max=65535)] = 8080
    grpc_port: Annotated[
        int | None, Option("Port for gRPC; 0 takes a free one. By default there is no gRPC.", min=0, max=65535)
    ] = None
    protocols: Annotated[
        str, Option("Protocols that are open besides RLway's own, with commas between; '' for none.")
    ] = ",".join(PROTOCOLS)
    poll_s: Annotated[
        float | None,
        Option(
            "Seconds between two looks for new versions; 0 looks once. By default 1, and 10 at a URL.",
            min=0,
        ),
    ] = None
    cache: Annotated[
        Path | None, Option("With a URL: folder for the copies of its bundles; a temporary one by default.")
    ] = None
    keep_versions: Annotated[
        int, Option("How many of the newest versions stay loaded, besides those with a label.", min=1)
    ] = 2
    device: Annotated[Device, Option("Where policies run; auto measures which device is fastest.")] = "auto"
    buckets: Annotated[bool | None, Option("Pad batches to powers of two; by default on GPUs only.")] = None
    batch_invariant: Annotated[
        bool,
        Option(
            "Run all batches at one size, so that other callers never change an action's bits.",
            name="--batch-invariant",
        ),
    ] = False
    default_policy: Annotated[
        str | None, Option("Policy that answers POST /act, which names none.", name="--default")
    ] = None
    workers: Annotated[int, Option("Processes that share the ports.", min=1, max=256)] = 1
    max_batch: Annotated[int, Option("The most observations gathered into one batch.", min=1)] = 512
    max_rows: Annotated[int, Option("The most observations in one request.", min=1)] = 4096
    queue_capacity: Annotated[
        int, Option("The most observations that may wait per policy; further ones get 429.", min=1)
    ] = 4096
    max_in_flight: Annotated[
        int, Option("The most requests of one connection, or of one gRPC stream, that may wait for answers.", min=1)
    ] = 64
    max_connections: Annotated[int, Option("The most connections of one worker, on each of its ports.", min=1)] = 4096
    max_header_bytes: Annotated[
        int, Option("Largest request headers, or metadata of a gRPC call, bytes.", min=1024)
    ] = 32 * 1024
    max_body_bytes: Annotated[int, Option("Largest request body or message, bytes.", min=1)] = 4 * 1024 * 1024
    # JSON is read on the event loop, which takes about 10 ms per MiB; hence a lower limit than for raw bytes.
    max_json_bytes: Annotated[int, Option("Largest JSON body, bytes.", min=1)] = 1024 * 1024
    max_buffered_bytes: Annotated[
        int, Option("The most that the large request bodies of one worker hold together, bytes.", min=1)
    ] = 256 * 1024 * 1024
    header_timeout_s: Annotated[
        float, Option("How long a request's headers may take to arrive, seconds.", min=0.01)
    ] = 10.0
    body_timeout_s: Annotated[
        float, Option("How long a request's body may take after its headers, seconds.", min=0.01)
    ] = 30.0
    max_rate: Annotated[
        float | None, Option("The most requests per second from one key or address; no limit by default.", min=1e-6)
    ] = None
    keep_alive_s: Annotated[float, Option("Close connections that have been idle this long, seconds.", min=0.1)] = 75.0
    episode_ttl_s: Annotated[float, Option("End episodes that have been unused this long, seconds.", min=0.01)] = 600.0
    max_episodes: Annotated[
        int, Option("The most episodes of one worker; beyond that, the one unused longest ends.", min=1)
    ] = 10_000
    drain_s: Annotated[float, Option("How long a shutdown waits for requests in flight, seconds.", min=0)] = 10.0
    ui: Annotated[bool, Option("A page in the browser, at /ui/; /docs is there in any case.")] = True
    api_keys: Annotated[Path | None, Option("File of accepted API keys, one a line; also RLWAY_API_KEYS.")] = None
    admin_keys: Annotated[Path | None, Option("File of the keys that /metrics accepts; also RLWAY_ADMIN_KEYS.")] = None
    tls_cert: Annotated[Path | None, Option("Certificate chain, PEM; turns on TLS on all ports.")] = None
    tls_key: Annotated[Path | None, Option("The certificate's key, PEM.")] = None
    cors_origins: Annotated[
        tuple[str, ...], Option("Origin whose web pages may call the server; may be repeated.", name="--cors-origin")
    ] = ()
    access_log: Annotated[str | None, Option("File for one JSON line per request; - for stdout.")] = None
    otel: Annotated[
        bool | None, Option("Send traces by OTLP/HTTP; on by default where OTEL_… variables ask for them.")
    ] = None

    express: Annotated[bool, Option("Express calls, which --no-express forbids for tests.", hidden=True)] = True

    @property
    def open_protocols(self) -> frozenset[str]:
        """The protocols besides the native one that requests may speak. Raises UsageError for an unknown name."""
        names = frozenset(filter(None, (name.strip() for name in self.protocols.split(","))))
        if unknown := names - {*PROTOCOLS}:
            expected = ", ".join(PROTOCOLS)
            raise UsageError(f"--protocols: expected any of {expected}, with commas between, got {named([*unknown])}.")
        return names

    @property
    def folder_poll_s(self) -> float:
        """Seconds between two scans of the models folder on this machine; 0 scans it once."""
        if self.poll_s is None:
            return FOLDER_POLL_S
        return min(FOLDER_POLL_S, self.poll_s) if self.store else self.poll_s

    @property
    def store_poll_s(self) -> float:
        """Seconds between two passes over the store; 0 copies once."""
        return STORE_POLL_S if self.poll_s is None else self.poll_s
