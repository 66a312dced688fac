"""docs/protocols.md: what each protocol can say, and how it is refused, as its tables have it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rlway_client.contract.errors import NotReady, QueueFull, RlwayError
from rlway_serve.protocols.tfs.errors import http_status
from tests.docs.protocols_page import CART, ERRORS, MOST_ROWS, NO, PAGE, SAYS, Running, running_protocols
from tests.docs.speakers import SPEAKERS, Openpi
from tests.docs.words import Refused, Speaker
from tests.servers import get_request

KEY = "correct-horse"
SPOKEN = [(column, kind) for column, kinds in SPEAKERS.items() for kind in kinds]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same server with a key."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "keys").write_text(KEY)
    with running_protocols(folder, "--api-keys", str(folder / "keys")) as running:
        yield running


@pytest.fixture(params=SPOKEN, ids=lambda spoken: spoken[1].__name__)
def column(request: pytest.FixtureRequest) -> str:
    name: str = request.param[0]
    return name


@pytest.fixture
def kind(request: pytest.FixtureRequest, column: str) -> Callable[..., Speaker]:  # noqa: ARG001
    found: Callable[..., Speaker] = request.node.callspec.params["column"][1]
    return found


@pytest.fixture
def speaker(running: Running, column: str, kind: Callable[..., Speaker]) -> Iterator[Speaker]:
    speaker = running.speaker(column, kind)
    yield speaker
    speaker.close()


# ------------------------------------------------------------------------------------------------ what each can say

ZEROS = {"observation": np.zeros((1, 4), np.float32)}
ONE = {"observation": np.array([[1, 0, 0, 0]], np.float32)}
IDS = iter(range(10**6))


def _several(speaker: Speaker) -> None:
    rows = np.array([[0, 0, 0, 0], [0, 0, 0, 9]], np.float32)
    assert speaker.ask("cartpole", {"observation": rows})["action"].tolist() == [0, 1]


def _parts(speaker: Speaker) -> None:
    parts = {"camera": np.array([[0, 9]], np.uint8), "joints_arm": np.zeros((1, 3), np.float32)}
    assert speaker.ask("robot", parts)["action"].tolist() == [1]


def _by_name(speaker: Speaker) -> None:
    named = dict(zip(reversed(CART), np.array([[9], [0], [0], [0]], np.float32), strict=True))
    assert speaker.ask("cartpole", named)["action"].tolist() == [1]
    assert speaker.ask("cartpole", {f"observation/{name}": value for name, value in named.items()})["action"] == [1]


def _wide(speaker: Speaker) -> None:
    assert speaker.ask("cartpole", {"observation": np.array([[0, 0, 0, 9.1]])})["action"].tolist() == [1]


def _octets(speaker: Speaker) -> None:
    assert speaker.ask("cartpole", {"observation": np.array([[0, 0, 0, 9]], np.float32)}, octets=True)["action"] == [1]


def _version(speaker: Speaker) -> None:
    assert speaker.ask("cartpole", ZEROS, version=2, outputs=["q_values"])["q_values"][0] == pytest.approx([1.1, 1])


def _label(speaker: Speaker) -> None:
    assert speaker.ask("cartpole", ZEROS, label="canary", outputs=["q_values"])["q_values"][0] == pytest.approx(
        [1.1, 1]
    )


def _deadline(speaker: Speaker) -> None:
    speaker.ask("cartpole", ZEROS, deadline_ms=60_000.0)
    with pytest.raises(Refused, match="cannot be met"):
        speaker.ask("cartpole", ZEROS, deadline_ms=0.001)


def _outputs(speaker: Speaker) -> None:
    assert list(speaker.ask("cartpole", ZEROS)) == ["action"]
    asked = speaker.ask("cartpole", ZEROS, outputs=["action", "q_values"])
    assert asked["q_values"][0] == pytest.approx([0.1, 0])
    assert asked["action"].tolist() == [0]


def _explore(speaker: Speaker) -> None:
    assert {speaker.ask("cartpole", ZEROS, explore={"epsilon": 1.0})["action"].item() for _ in range(64)} == {0, 1}


def _seed(speaker: Speaker) -> None:
    """Where exploration can be asked for, too, a seed decides it."""
    explore = {"explore": {"epsilon": 1.0}} if not isinstance(speaker, SPEAKERS["TFS gRPC"]) else {}
    drawn = [[speaker.ask("cartpole", ZEROS, seed=i, **explore)["action"].item() for i in range(8)] for _ in range(2)]
    assert drawn[0] == drawn[1]


def _noise(speaker: Speaker) -> None:
    assert speaker.ask("cartpole", ZEROS, noise=np.array([[0, 9]], np.float32))["action"].tolist() == [1]


def _time_step(speaker: Speaker) -> None:
    whole = {"reward": np.ones(1, np.float32), "discount": np.ones(1, np.float32), "step_type": np.ones(1, np.int32)}
    speaker.ask("cartpole", ZEROS | whole)
    with pytest.raises(Refused, match="step_type"):
        speaker.ask("cartpole", ZEROS | whole | {"step_type": np.full(1, 7, np.int32)})


def _episode(speaker: Speaker) -> None:
    name = f"arm-{next(IDS)}"
    assert _sum(speaker.ask("recurrent", ONE, episode=name, first=True, outputs=["next_sum"])) == 1
    assert _sum(speaker.ask("recurrent", ONE, episode=name, outputs=["next_sum"])) == 2


def _first(speaker: Speaker) -> None:
    name = f"arm-{next(IDS)}"
    with pytest.raises(Refused, match="not known here"):
        speaker.ask("recurrent", ONE, episode=name)
    for _ in range(2):
        assert _sum(speaker.ask("recurrent", ONE, episode=name, first=True, outputs=["next_sum"])) == 1


def _last(speaker: Speaker) -> None:
    name = f"arm-{next(IDS)}"
    speaker.ask("recurrent", ONE, episode=name, first=True)
    speaker.ask("recurrent", ONE, episode=name, last=True)
    with pytest.raises(Refused, match="not known here"):
        speaker.ask("recurrent", ONE, episode=name)


def _connection(speaker: Speaker) -> None:
    sums = [_sum(speaker.ask("recurrent", ONE, outputs=["next_sum"])) for _ in range(2)]
    assert sums == [1, 2]


def _state(speaker: Speaker) -> None:
    state = np.array([[5, 0, 0, 0]], np.float32)
    assert _sum(speaker.ask("recurrent", ONE | {"sum": state})) == 6


def _sum(results: dict[str, Any]) -> float:
    return float(results["next_sum"][0, 0])


ROWS: dict[str, Callable[[Speaker], None]] = {
    "several observations in one request": _several,
    "an observation of several tensors": _parts,
    "values by name": _by_name,
    "float64 for a float32 input": _wide,
    "tensors as bytes": _octets,
    "version": _version,
    "label": _label,
    "deadline": _deadline,
    "further outputs": _outputs,
    "exploration": _explore,
    "seed": _seed,
    "noise": _noise,
    "reward, discount, step type": _time_step,
    "episode by an id": _episode,
    "first step of an episode": _first,
    "last step of an episode": _last,
    "the connection is the episode": _connection,
    "policy state in the request": _state,
}


def test_every_row_of_the_table_is_tried() -> None:
    """In the order of the page, for every column; keys have a server of their own."""
    assert list(SAYS) == list(SPEAKERS)
    for cells in SAYS.values():
        assert [row for row in cells if row != "API key"] == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_protocol_says_what_the_table_says(row: str, column: str, speaker: Speaker) -> None:
    """In the words of the cell; what is ✗ is refused in the protocol's own form, and the next request is answered."""
    if SAYS[column][row] == NO:
        with pytest.raises(Refused):
            ROWS[row](speaker)
    else:
        ROWS[row](speaker)
    assert speaker.ask("cartpole", ZEROS)["action"].tolist() == [0]


ARM, CAMERA, PLAIN = np.zeros(3, np.float32), np.array([0, 9], np.uint8), np.zeros(4, np.float32)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("robot", {"camera": CAMERA, "joints": {"arm": ARM}}),
        ("robot", {"camera": CAMERA.tolist(), "joints/arm": ARM}),
        ("robot", {"observation/camera": CAMERA, "observation/joints/arm": ARM}),
        ("robot", {"camera": CAMERA, "joints_arm": ARM, "prompt": "pick up the cube"}),
        ("cartpole", {"state": PLAIN}),
        ("cartpole", {"state": dict.fromkeys(CART, 0.5)}),
        ("cartpole", dict.fromkeys(CART, np.float64(0.5))),
        ("cartpole", {"observation": PLAIN, "server_timing": True}),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_openpis_keys_are_those_of_its_table(policy: str, message: dict[str, Any], running: Running) -> None:
    """Each way to name an input, and what comes beside it; other keys are refused."""
    speaker = running.speaker("openpi", Openpi)
    assert speaker.ask(policy, message)["action"].shape == (1,)
    with pytest.raises(Refused):
        speaker.ask(policy, message | {"speed": 1.0, "colour": 2.0})
    speaker.close()


def test_requests_are_counted_by_the_names_on_the_page(running: Running) -> None:
    """One for each column, in both counters."""
    for column, kind in SPOKEN:
        speaker = running.speaker(column, kind)
        speaker.ask("cartpole", ZEROS)
        with pytest.raises(Refused):
            speaker.ask("cartpole", {"observation": np.zeros((1, 5), np.float32)})
        speaker.close()
    sentence = PAGE.split("count them by `protocol`:")[1].split(".")[0]
    metrics = running.server.ask(get_request("/metrics")).body.decode()
    for counter in ("rlway_protocol_requests_total", "rlway_protocol_refusals_total"):
        counted = {*re.findall(rf'{counter}\{{.*protocol="([^"]+)"', metrics)}
        assert counted == {*re.findall(r"`([a-z-]+)`", sentence)}


# ------------------------------------------------------------------------------------------------ errors

FAULTS: dict[str, Callable[[Speaker], Any]] = {
    "a value that does not fit the policy": lambda s: s.ask("cartpole", {"observation": np.full((1, 4), np.nan, "f4")}),
    "unknown key, parameter or field": lambda s: s.ask("cartpole", ZEROS, last=True),  # with no id
    "too many rows": lambda s: s.ask("cartpole", {"observation": np.zeros((MOST_ROWS + 1, 4), np.float32)}),
    "unknown policy": lambda s: s.ask("nobody", ZEROS),
    "unknown version": lambda s: s.ask("cartpole", ZEROS, version=9),
    "unknown label": lambda s: s.ask("cartpole", ZEROS, label="newest"),
    "unknown episode": lambda s: s.ask("recurrent", ONE, episode="nobody"),
    "the deadline cannot be met": lambda s: s.ask("cartpole", ZEROS, deadline_ms=0.001),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_has_the_status_of_the_table(fault: str, column: str, speaker: Speaker) -> None:
    """And a sentence; a stream's is its own error message."""
    with pytest.raises(Refused) as refused:
        FAULTS[fault](speaker)
    expected = "error_message" if getattr(speaker, "streamed", False) else ERRORS[column][fault]
    assert refused.value.status == expected


def test_a_key_is_asked_for_as_the_table_says(locked: Running, column: str, kind: Callable[..., Speaker]) -> None:
    """None, another, the right one."""
    for key, row in ((None, "no key"), ("wrong", "another key")):
        speaker = locked.speaker(column, kind, key)
        with pytest.raises(Refused) as refused:
            speaker.ask("cartpole", ZEROS)
        assert refused.value.status == ERRORS[column][row]
        speaker.close()
    speaker = locked.speaker(column, kind, KEY)
    assert speaker.ask("cartpole", ZEROS)["action"].tolist() == [0]
    speaker.close()


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("queue full, too many requests", QueueFull),
        ("no version loaded, or stopping", NotReady),
    ],
)
def test_rare_errors_have_the_codes_of_the_table(row: str, error: type[RlwayError]) -> None:
    """Each protocol finds its code from the error alone."""
    cells = {column: cells[row] for column, cells in ERRORS.items()}
    assert cells["OIP REST"] == str(error.http)
    assert cells["TFS REST"] == str(http_status(error("full")))
    assert cells["OIP gRPC"] == cells["TFS gRPC"] == error.grpc
