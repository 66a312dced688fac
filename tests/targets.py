"""Checks for everything that reads bytes from elsewhere: they must hold for any bytes.

In:      bytes.
Out:     nothing; AssertionError where a check fails.

`tests.guided` looks for such bytes by coverage; the tests try those that it found before.
"""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rlway_client.contract.errors import BundleInvalid, RlwayError
from rlway_client.contract.exploration import Explore
from rlway_client.contract.interface import TIME_STEP
from rlway_client.contract.labels import read_labels
from rlway_client.contract.manifest import MANIFEST_SCHEMA, Manifest, decode_manifest, encode_manifest
from rlway_client.contract.specs import TensorSpec
from rlway_serve.codec.decoder import UNREADABLE, ActDecoder
from rlway_serve.codec.observation import ObservationForm
from rlway_serve.messages.call import Call
from rlway_serve.messages.response import OCTETS
from rlway_serve.registry.loaded_version import VersionUnsound, load_version
from rlway_serve.settings import Settings
from rlway_serve.telemetry.metrics import Metrics
from tests.bundles import linear_policy
from tests.callers import Receiving
from tests.in_process import HANDSHAKE, InProcessServer, masked_frame
from tests.reading import Unclear, read
from tests.servers import ACT

UNEQUAL = (b"explore", b"deadline", b"\\u")  # their answers are random or depend on time; \u may spell these names


def split(data: bytes, places: bytes) -> list[bytes]:
    """The data in packets that end at these places, in 256ths of its length."""
    cuts = sorted({0, len(data), *(place * (len(data) + 1) // 256 for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(cuts)]


def check_requests(server: InProcessServer, data: bytes) -> None:
    """Both lanes answer alike whatever follows an act request's first line, and however it is split into packets.

    The first four bytes say where it is split.
    """
    places, rest = data[:4], data[4:]
    if any(word in rest for word in UNEQUAL) or b"/metrics" in rest:
        return
    hot, asgi = (b"POST " + ACT.encode() + query + b" HTTP/1.1\r\n" + rest for query in (b"", b"?x=1"))
    whole = server.exchange([hot])
    assert server.exchange(split(hot, places)).startswith(_certain(whole))
    assert server.exchange([asgi]) == whole
    assert not re.search(rb"HTTP/1\.1 5(?!04)", whole)


def _certain(answers: bytes) -> bytes:
    """Without the final 400 of a broken request: sent in packets, it may be answered before it is seen to be broken."""
    before, _, last = answers.rpartition(b"HTTP/1.1 ")
    return before if last.startswith(b"400 ") and b"\r\nconnection: close\r\n" in last else answers


def check_frames(server: InProcessServer, data: bytes) -> None:
    """Whatever follows a WebSocket's handshake is answered alike however it is split, until the client closes.

    The first byte chooses the policy, the next four say where to split, and the next whether the rest is sent as it is
    or as the payload of frames.
    """
    if len(data) < 6 or any(word in data for word in UNEQUAL):
        return
    policy = (b"linear", b"summing")[data[0] % 2]
    rest = data[6:] if data[5] % 4 == 0 else b"".join(_frames(data[6:]))
    handshake = HANDSHAKE % policy
    head, end, whole = server.exchange([handshake, rest]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert end
    packets = [handshake, *split(rest, data[1:5])] if data[5] % 3 else [handshake + rest]
    cut = server.exchange(packets).partition(b"\r\n\r\n")[2]
    few, many = sorted((_received(whole), _received(cut)), key=lambda both: len(both[0]))
    assert many[0][: len(few[0])] == few[0]
    assert few[1] or many[1] or len(few[0]) == len(many[0]), "answers are missing"


def _received(stream: bytes) -> tuple[list[bytes], bool]:
    """The messages that a WebSocket's client gets, each with its kind; and whether the server closed."""
    messages, closed, at = [], False, 0
    while at < len(stream):
        opcode, length, start = stream[at] & 15, stream[at + 1], at + 2
        assert length < 128, "a server's frame is not masked"
        size = {126: 2, 127: 8}.get(length, 0)
        length = int.from_bytes(stream[start : start + size], "big") if size else length
        at = start + size + length
        assert at <= len(stream), "a frame was cut short"
        if opcode in (1, 2):
            messages.append(bytes([opcode]) + stream[start + size : at])
        closed = closed or opcode == 8
    return messages, closed


def _frames(data: bytes) -> Iterator[bytes]:
    """A masked frame for each line; its first byte is the frame's first byte: its opcode and whether it is the last."""
    for part in data.split(b"\n"):
        if len(part) <= 65536:
            yield masked_frame(part[0] if part else 0x81, part[1:])


class Bodies:
    """Checks the decoders of several specs."""

    def __init__(self) -> None:
        self._settings = Settings(models=Path(), max_rows=64, max_json_bytes=4096)
        self._known = [
            (manifest, ActDecoder(manifest, self._settings), ObservationForm(manifest.observation))
            for manifest in _manifests()
        ]

    def check(self, data: bytes) -> None:
        """A body is refused with a status that the documentation allows, or read as json and numpy read it.

        The first byte chooses the policy, the second the media type.
        """
        if len(data) < 2:
            return
        manifest, decoder, form = self._known[data[0] % len(self._known)]
        media_type = (b"application/json", b"", OCTETS)[data[1] % 3]
        body = data[2:]
        try:
            expected = read(manifest, self._settings, media_type, body)
        except Unclear:
            return
        plain = _read_plain(decoder, media_type, body)
        sentence = ""
        try:
            call = decoder.decode(media_type, body, Receiving())
            status = 422 if decoder.faults(call) else 200
        except RlwayError as error:
            status, sentence = error.http, str(error)
        where = f"{manifest.policy}: {status}, expected {expected}"
        assert len(sentence) <= 300, sentence
        if status != 200:
            assert status in expected.refusals, where
            assert plain is None, where
            return
        assert not expected.refusals, where
        assert (call.rows, call.batched) == (expected.rows, expected.batched), where
        for observations in (call.observations, plain):
            if observations is None:
                continue
            for name, values in form.stack([observations]).items():
                assert np.array_equal(values, expected.observations[name].reshape(values.shape)), where
        if plain is not None:
            assert _asks_nothing_else(call), where


def _read_plain(decoder: ActDecoder, media_type: bytes, body: bytes) -> Any:
    """The observation, if the fast reader accepts the body; otherwise None."""
    if media_type == OCTETS or len(body) > decoder.max_plain_bytes:
        return None
    try:
        return decoder.decode_plain(body).observation
    except UNREADABLE:
        return None


def _asks_nothing_else(call: Call) -> bool:
    return not (call.batched or call.raw or call.outputs or call.explore or call.deadline_s or call.time_step)


def _manifests() -> Iterator[Manifest]:
    trees: dict[str, list[TensorSpec]] = {
        "floats": [TensorSpec("observation", (4,), "float32")],
        "scalar": [TensorSpec("observation", (), "float64")],
        "half": [TensorSpec("observation", (2,), "float16")],
        "grid": [TensorSpec("observation", (2, 2), "int64")],
        "pixels": [TensorSpec("observation", (3,), "uint8")],
        "huge": [TensorSpec("observation", (1,), "uint64")],
        "switches": [TensorSpec("observation", (2,), "bool")],
        "words": [TensorSpec("observation", (2,), "int16", lookup_minimum=0, lookup_maximum=9)],
        "pair": [TensorSpec("word", (), "int64", 0, 9, ("0",), 0, 9), TensorSpec("at", (2,), "float32", path=("1",))],
        "robot": [
            TensorSpec("camera", (2,), "uint8", path=("camera",)),
            TensorSpec("joints_arm", (3,), "float32", path=("joints", "arm")),
        ],
    }
    for name, observation in trees.items():
        for state in ([], [TensorSpec("sum", (4,), "float32")]):
            yield _manifest(name, observation, state=state)
    yield _manifest("rewarded", trees["floats"], time_step=[TensorSpec(n, (), t) for n, t in TIME_STEP.items()])
    yield _manifest("sampled", trees["floats"], explore=Explore(temperature=1.0))


def _manifest(name: str, observation: list[TensorSpec], **more: Any) -> Manifest:
    return Manifest(
        schema_version=MANIFEST_SCHEMA,
        policy=name,
        version=1,
        algorithm=None,
        env=None,
        observation=observation,
        action=TensorSpec("action", (), "int64", 0, 1),
        noise=TensorSpec("noise", (2,), "float32"),
        outputs=[TensorSpec("q_values", (2,), "float32")],
        **more,
    )


class Bundles:
    """Checks the readers of a bundle's manifest and of labels.json."""

    def __init__(self, folder: Path) -> None:
        self._bundle = linear_policy(folder / "models")
        self._labels = folder / "labels.json"
        self._settings = Settings(models=folder / "models")
        self._metrics = Metrics()

    @property
    def manifest(self) -> bytes:
        """The valid manifest."""
        return encode_manifest(self._bundle.manifest)

    def check_manifest(self, data: bytes) -> None:
        """A manifest is refused in a sentence, or survives writing and reading, and then loads or is refused."""
        try:
            manifest = decode_manifest(data, "manifest.json")
        except BundleInvalid:
            return
        assert decode_manifest(encode_manifest(manifest), "manifest.json") == manifest
        (self._bundle.path / "manifest.json").write_bytes(data)
        try:
            version = load_version(self._bundle.path, self._settings, self._metrics)
        except VersionUnsound as fault:
            if fault.reason == "internal":
                raise AssertionError(str(fault.__cause__)) from fault
        else:
            version.batcher.close()
            self._metrics = Metrics()

    def check_labels(self, data: bytes) -> None:
        """labels.json is read, or refused in a sentence."""
        self._labels.write_bytes(data)
        labels, fault = read_labels(self._labels)
        assert (labels is None) == bool(fault)
        assert labels is None or all(version >= 1 for version in labels.values())


def open_target(name: str) -> tuple[Callable[[bytes], None], list[bytes]]:
    """The check of this name, and inputs to start from."""
    folder = Path(tempfile.mkdtemp(prefix=f"rlway-{name}-"))
    json_head = b"host: a\r\ncontent-type: application/json\r\ncontent-length: "
    body = b'{"observation": [1, 2, 3, 4]}'
    if name == "requests":
        server = InProcessServer(folder)
        chunked = b"host: a\r\ntransfer-encoding: chunked\r\n\r\n1d\r\n" + body + b"\r\n0\r\n\r\n"
        get = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
        sound = json_head + b"29\r\n\r\n" + body
        act = b"POST /act HTTP/1.1\r\n" + sound
        expecting = b"expect: 100-continue\r\n" + sound
        rests = [
            sound,
            chunked,
            sound + get,
            sound + act * 2,
            chunked + act,
            expecting,
            b"connection: close\r\n" + sound,
        ]
        rests += [sound + get + act, HANDSHAKE % b"linear", b"upgrade: h2c\r\nconnection: upgrade\r\n" + sound]
        return lambda data: check_requests(server, data), [bytes([40, 90, 160, 220]) + rest for rest in rests]
    if name == "frames":
        server = InProcessServer(folder)
        start = bytes([0, 40, 90, 160, 220, 1])
        row = np.zeros(4, "<f4").tobytes()
        messages = [b"\x81" + body, b"\x82" + row, b"\x01" + body[:9] + b"\n\x80" + body[9:], b"\x89x", b"\x88\x03\xe8"]
        seeds = [start + b"\n".join(messages[:count]) for count in range(1, 6)]
        raw = bytes([1, 9, 9, 9, 9, 0]) + b"".join(_frames(messages[0]))
        return lambda data: check_frames(server, data), [*seeds, raw]
    if name == "bodies":
        bodies = Bodies()
        wire = [body, b'{"observations": [[1, 2], [3, 4]]}', b'{"observation": 1e3, "outputs": ["q_values"]}']
        wire += [b'{"observation": {"camera": [1, 2], "joints": {"arm": [1, 2, 3]}}, "seed": 7}']
        wire += [b'{"observation": [3, [0.5, 1]]}', b'\xef\xbb\xbf{"observation": {"0": 3.0, "1": [0.5, 1]}}']
        wire += [b'{"observation": [1, 2, 3, 4], "explore": {"epsilon": 0.1}}']
        wire += [b'{"observation": [true, false], "version": 1, "label": "x", "episode": "e", "first": true}']
        wire += [b'{"observation": [1, 2, 3, 4], "time_step": {"reward": 0.5, "discount": 1, "step_type": 2}}']
        wire += [b'{"observations": [[1, 2, 3, 4]], "time_step": {"reward": [NaN], "step_type": [1.0]}, "seed": 1}']
        seeds = [bytes([policy, 0]) + text for policy in range(22) for text in wire]
        return bodies.check, [*seeds, *(bytes([policy, 2]) + bytes(32) for policy in range(22))]
    bundles = Bundles(folder)
    if name == "manifests":
        return bundles.check_manifest, [bundles.manifest]
    return bundles.check_labels, [b'{"stable": 3, "canary": 4}', b"{}", b"[]"]
