"""The servers and files that the JavaScript client's tests are given, and the results of each runtime."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rlway_client import EdgePolicy, Explore, PolicyClient, RlwayError
from tests.bundles import gaussian_policy, linear_policy
from tests.conftest import ROOT
from tests.js.file_server import FileServer, serving_files
from tests.js.guards import guarded_episodes, judged_guards, replaying_bundles
from tests.js.network import Network
from tests.js.policies import NAMES, damage_bundles, write_policies
from tests.js.runtimes import need_node, open_page, run_node
from tests.ports import free_port
from tests.servers import PATIENCE_S, Server, running_server, wait_until

CASES = sorted((ROOT / "tests/js/cases").glob("*.js"))
RUNTIMES = ("node", "chromium")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    """The package and the cases; bundles in `work/models`, and damaged ones in `work/faulty`."""
    need_node()
    work = tmp_path_factory.mktemp("js")
    write_policies(work / "models")
    damage_bundles(work / "models", work / "faulty")
    with serving_files({"clients": ROOT / "clients", "tests": ROOT / "tests", "work": work}) as server:
        yield server


@pytest.fixture(scope="session")
def server(files: FileServer) -> Iterator[Server]:
    """Every policy; `linear` is the default."""
    work = files.folders["work"]
    for runtime in RUNTIMES:
        linear_policy(work / "models", f"changing-{runtime}")
    options = ["--default", "linear", "--poll-s", "0.2", "--cors-origin", files.url]
    with running_server(work / "models", work / "log", *options) as running:
        yield running


class KeyedServer:
    """A server that asks for a key, and that can be restarted on its port."""

    def __init__(self, work: Path, origin: str) -> None:
        self._work = work
        port = free_port()
        keys = work / "keys.txt"
        keys.write_text("secret\n")
        self._options = ["--port", str(port), "--api-keys", str(keys), "--default", "linear", "--cors-origin", origin]
        self._running = ExitStack()
        self.url = f"http://127.0.0.1:{port}"

    def restart(self) -> None:
        self.stop()
        self._running.enter_context(running_server(self._work / "models", self._work / "keyed.log", *self._options))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="session")
def given(files: FileServer, server: Server) -> Iterator[dict[str, Any]]:
    """What the cases are given, and the servers that they ask."""
    work = files.folders["work"]
    keyed, network = KeyedServer(work, files.url), Network(server.port)
    files.wishes |= {"restart": keyed.restart, "stop": keyed.stop, "cut": network.cut, "mend": network.mend}
    files.wishes |= {
        name: partial(server.process.send_signal, number)
        for name, number in (("freeze", signal.SIGSTOP), ("thaw", signal.SIGCONT))
    }
    files.wishes |= {f"change-{runtime}": partial(change, server, f"changing-{runtime}") for runtime in RUNTIMES}
    keyed.restart()
    network.mend()
    yield {
        "modules": [case.name for case in CASES],
        "url": server.url,
        "network": network.url,
        "keyed": keyed.url,
        "nobody": f"http://127.0.0.1:{free_port()}",
        "expected": json.loads((work / "expected.json").read_text()),
        "sentences": sentences(server.url),
        "refusals": refusals(work / "models"),
        "guards": {
            "episodes": guarded_episodes(),
            "policies": replaying_bundles(work / "guarded"),
            "judged": judged_guards(),
        },
    }
    network.cut()
    keyed.stop()


def change(server: Server, name: str) -> None:
    """Publishes a version with another action, and waits until it is active."""
    gaussian_policy(server.log.parent / "models", name, version=2)
    with PolicyClient(server.url, name) as policy:
        wait_until(lambda: policy.describe()["version"] == 2, "the new version to be active")


def sentences(url: str) -> dict[str, str]:
    """What Python's client says to requests that the server refuses."""
    refused: dict[str, tuple[str, Any, dict[str, Any]]] = {
        "shape": ("linear", [1, 0, 0], {}),
        "policy": ("walker", [1], {}),
        "version": ("linear", [1, 0, 0, 0], {"version": 9}),
        "explore": ("linear", [1, 0, 0, 0], {"explore": Explore(sigma=1)}),
        "name": ("named", {"hip": 1, "knee": 2, "heel": 3, "toe": 4}, {}),
    }
    found = {}
    for name, (policy, observation, options) in refused.items():
        with PolicyClient(url, policy) as client, pytest.raises(RlwayError) as caught:
            client.ask(observation, **options)
        found[name] = str(caught.value)
    return found


def refusals(models: Path) -> list[dict[str, Any]]:
    """What Python's EdgePolicy says to observations that do not fit."""
    asked: list[tuple[str, Any]] = [
        ("linear", [1, 0, 0]),
        ("linear", [1, 0, 0, "left"]),
        ("linear", 1),
        ("linear", [[1, 0, 0, 0]]),
        ("robot", {"camera": [1, 2], "joints": {"arm": [0, 0]}}),
        ("robot", {"camera": [1, 256], "joints": {"arm": [0, 0, 0]}}),
        ("robot", {"camera": [1, 0.5], "joints": {"arm": [0, 0, 0]}}),
        ("robot", {"camera": [1, 2]}),
        ("robot", {"camera": [1, 2], "joints": {"arm": [0, 0, 0], "leg": [1]}}),
        ("embedding", [0, 9, 10]),
        ("echo", [[1, 2], [3]]),
        ("named", {"hip": 1, "knee": 2, "ankle": 3}),
        ("named", {"hip": 1, "knee": 2, "ankle": 3, "heel": 4, "κνήμη": 5}),
        ("named", {"hip": 1, "knee": 2, "ankle": 3, "tow": 4}),
        ("named", {"hip": 1, "anklet": 2, "Knees": 3, "kneel": 4}),
        ("named", {"hip": 1, "knee": 1e39, "ankle": 3, "toe": 4}),
        ("named-grid", {"toe": 1, "knee": "left", "ankle": 3, "hip": 1e39}),
        ("named", {name: str(row) for row, name in enumerate(NAMES)}),
        ("named", {f"{name}_of_the_left_leg_and_of_no_other": 1 for name in NAMES}),
        ("named-grid", {"hip": 1, "knee": 2, "ankle": 3, "toe": [4]}),
        ("named-robot", {"camera": [1, 2], "joints": {"arm": {"hip": 1, "knee": 2}}}),
        ("named-robot", {"joints": {"arm": {"toe": 1}}}),
        ("named-robot", {"camera": {"hip": 1}, "joints": {"arm": {"hip": 1, "knee": 2, "ankle": 3}}}),
    ]
    found = []
    for name, observation in asked:
        with pytest.raises(RlwayError) as caught:
            EdgePolicy(models / name / "1", "model.onnx").act(observation)
        found.append({"policy": name, "observation": observation, "sentence": str(caught.value)})
    return found


@pytest.fixture(scope="session", params=RUNTIMES)
def results(
    request: pytest.FixtureRequest, files: FileServer, given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str | None]:
    """What went wrong with each case in one runtime; None if nothing did."""
    work, runtime = files.folders["work"], request.param
    places = {"bundles": "models", "faulty": "faulty", "guarded": "guarded"}
    base = str(work) if runtime == "node" else f"{files.url}/work"
    files.given = given | {"runtime": runtime} | {name: f"{base}/{folder}" for name, folder in places.items()}
    with (
        run_node(str(ROOT / "tests/js/run.js"), files.url)
        if runtime == "node"
        else open_page(f"{files.url}/page", tmp_path_factory.mktemp("chromium") / "profile")
    ):
        found: dict[str, str | None] = files.results.get(timeout=2 * PATIENCE_S)
    return found
