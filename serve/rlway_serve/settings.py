"""How a server behaves: every option, its unit and its default, in one value."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Device = Literal["auto", "cpu", "cuda", "tensorrt"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What `rlway serve` was told."""

    models: Path  # on this machine
    store: str | None = None  # a URL that `models` is copied from
    store_poll_s: float = 10.0  # how often the store is looked at; 0 looks once
    cache: Path | None = None  # where the copies stay; by default in a folder that goes with the server
    host: str = "127.0.0.1"
    port: int = 8080  # 0 takes a free one
    workers: int = 1  # processes on the port
    default_policy: str | None = None  # answers POST /act; by default the only policy there is
    poll_s: float = 1.0  # how often the models folder is looked at; 0 reads it once
    keep_versions: int = 2  # newest versions of a policy that stay loaded, besides those with a label
    device: Device = "auto"
    buckets: bool | None = None  # pad runs to powers of two; by default on GPUs
    batch_invariant: bool = False  # every run has `max_batch` rows, so that nobody's bits depend on others
    max_batch: int = 512  # rows gathered into one run; a single request may bring more
    max_rows: int = 4096  # of one request
    queue_capacity: int = 4096  # rows waiting per policy before requests get 429
    max_in_flight: int = 64  # requests of one connection that are read before their answers are written
    max_body_bytes: int = 4 * 1024 * 1024
    max_json_bytes: int = 1024 * 1024  # JSON is read on the event loop, for some 10 ms per MiB
    max_header_bytes: int = 32 * 1024
    max_buffered_bytes: int = 256 * 1024 * 1024  # of large bodies, over all connections
    max_connections: int = 4096  # per worker
    header_timeout_s: float = 10.0  # from a request's first byte to the end of its headers
    body_timeout_s: float = 30.0  # from there to the end of its body
    max_rate: float | None = None  # requests per second of one key, or of one address where there are no keys
    keep_alive_s: float = 75.0  # idle connections are closed after this
    episode_ttl_s: float = 600.0  # an episode that nobody has asked for so long ends
    max_episodes: int = 10_000  # of one worker; then the one that was asked for longest ago ends
    drain_s: float = 10.0  # how long a stop waits for requests in flight
    api_keys: Path | None = None  # one key a line; without any key every caller is served
    admin_keys: Path | None = None  # the same for /metrics
    tls_cert: Path | None = None
    tls_key: Path | None = None
    cors_origins: tuple[str, ...] = ()  # whose pages browsers may let ask
    access_log: str | None = None  # a file, or `-` for stdout
    otel: bool | None = None  # send traces; by default if OpenTelemetry's variables name a collector
