"""Metrics of several processes: sums the counts of all workers for `/metrics`.

In:      `Metrics`; with several workers, a folder that they share.
Out:     Prometheus's text format.
Refuses: a folder in which no socket can be made (UsageError).

Each worker counts for itself, so counting costs the same with one worker or several. A worker that is asked for metrics
has the others write their counts to files. Every worker listens on a Unix socket in the folder: a connection asks it to
write its file, and it closes the connection when it has. The last file of a worker that has died still counts, so that
counters never decrease.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from rlway_client.contract.errors import UsageError
from rlway_serve.telemetry.metrics import Metrics

# Of other gauges, such as states of shared files, the highest counts.
ADDED_GAUGES = frozenset(["rlway_queue_rows", "rlway_streams", "rlway_grpc_streams", "rlway_episodes"])
WAIT_S = 1.0  # for a busy worker; after that its previous counts are used


class WrittenSample(msgspec.Struct, array_like=True):
    """One value of a family, with its labels."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, array_like=True):
    """A metric family as workers write it."""

    name: str
    kind: str
    help: str
    samples: list[WrittenSample]


class MultiprocessMetrics:
    """What one worker shows at `/metrics`."""

    def __init__(self, metrics: Metrics, folder: Path | None = None) -> None:
        self._metrics = metrics
        self._folder = folder
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Starts to listen for the other workers."""
        if self._folder is not None:
            path = self._folder / f"{os.getpid()}.socket"
            try:
                self._server = await asyncio.start_unix_server(self._answer, path)
            except OSError as error:
                raise UsageError(
                    f"--workers: {path}: no socket can be made there: {error.strerror or error}; set TMPDIR to a short "
                    f"path of a folder that can be written."
                ) from None

    async def text(self) -> bytes:
        """The counts of all workers in Prometheus's text format."""
        if self._folder is None:
            return self._metrics.text()
        self._write(self._folder)
        peers = [path for path in self._folder.glob("*.socket") if path.stem != str(os.getpid())]
        living = {str(os.getpid())}
        for path, lives in zip(peers, await asyncio.gather(*map(_ask, peers)), strict=True):
            if lives:
                living.add(path.stem)
        return generate_latest(Merged(_read_all(self._folder, living)))

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._folder is not None
        self._write(self._folder)
        writer.close()

    def _write(self, folder: Path) -> None:
        families = [
            Family(m.name, m.type, m.documentation, [WrittenSample(s.name, s.labels, s.value) for s in m.samples])
            for m in self._metrics.collect()
        ]
        draft = folder / f".{os.getpid()}"
        draft.write_bytes(msgspec.msgpack.encode(families))
        draft.replace(folder / f"{os.getpid()}.counts")


class Merged:
    """All workers' counts as one collector."""

    def __init__(self, families: Iterator[Family]) -> None:
        self._families: dict[str, tuple[Family, dict[tuple[str, tuple[tuple[str, str], ...]], float]]] = {}
        for family in families:
            _, sums = self._families.setdefault(family.name, (family, {}))
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                if family.kind == "gauge" and family.name not in ADDED_GAUGES:
                    sums[key] = max(sums.get(key, sample.value), sample.value)
                else:
                    sums[key] = sums.get(key, 0.0) + sample.value

    def collect(self) -> Iterator[Metric]:
        """Called by `generate_latest`."""
        for family, sums in self._families.values():
            metric = Metric(family.name, family.help, family.kind)
            metric.samples = [Sample(name, dict(labels), value) for (name, labels), value in sums.items()]
            yield metric


async def _ask(path: Path) -> bool:
    """Asks a worker to write its counts; returns whether it is alive."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        path.unlink(missing_ok=True)
        return False
    with suppress(TimeoutError, OSError):
        await asyncio.wait_for(reader.read(), WAIT_S)
    writer.close()
    return True


def _read_all(folder: Path, living: set[str]) -> Iterator[Family]:
    decoder: Any = msgspec.msgpack.Decoder(list[Family])
    for path in sorted(folder.glob("*.counts")):
        for family in decoder.decode(path.read_bytes()):
            if path.stem in living or family.kind != "gauge":  # a gauge of a dead worker means nothing any more
                yield family
