"""Descriptions of a policy's versions: of the active one, and of one that is named."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from rlway_client.contract.errors import NotFound
from tests.bundles import linear_policy
from tests.clients.conftest import Connect
from tests.naming import name_elements
from tests.servers import Server, get_request, running_server

NAMES = ["x", "dx", "angle", "spin"]
PATH = "/v1/policies/linear/versions"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Version 1 is active, version 2 has names and a label, version 3 is damaged."""
    models = tmp_path_factory.mktemp("versions") / "models"
    linear_policy(models)
    name_elements(linear_policy(models, version=2, bias=1.0), "observation", NAMES)
    (linear_policy(models, version=3).path / "model.onnx").write_bytes(b"")
    (models / "linear/labels.json").write_text(json.dumps({"stable": 1, "canary": 2, "newest": 2}))
    with running_server(models, models.with_name("log")) as running:
        yield running


def test_a_version_is_described_by_its_number(connect: Connect, versions: Server) -> None:
    """By name or for the default policy; without a number it is the active one."""
    for client in (connect(versions.url, "linear"), connect(versions.url)):
        assert client.describe()["manifest"]["version"] == 1
        second = client.describe(version=2)
        assert (second["name"], second["version"], second["active"]) == ("linear", 2, False)
        assert second["labels"] == ["canary", "newest"]
        assert second["manifest"]["meaning"]["tensors"]["observation"]["names"] == NAMES
        assert second["latency_us"].keys() == client.describe()["latency_us"].keys()
        first = client.describe(version=1)
        assert (first["active"], first["labels"]) == (True, ["stable"])
        assert first["manifest"] == client.describe()["manifest"]
        assert client.act([1, 0, 0, 0]) == 0


@pytest.mark.parametrize("version", [3, 9, 0, -1, 10**20])
def test_a_version_that_is_not_loaded_is_not_described(connect: Connect, versions: Server, version: int) -> None:
    """The sentence says which are."""
    sentence = "version 3 is not served; served: versions 1, 2" if version == 3 else "policy 'linear': "
    with pytest.raises(NotFound, match=sentence):
        connect(versions.url, "linear").describe(version=version)


def test_the_description_of_another_version_does_not_change_how_tuples_are_sent(
    connect: Connect, versions: Server
) -> None:
    """Observations still go to the active version."""
    client = connect(versions.url, "linear")
    client.describe(version=2)
    assert client.tree is None
    client.describe()
    assert client.tree is not None


@pytest.mark.parametrize(
    ("path", "status"),
    [("2", 200), ("02", 404), ("two", 404), ("1e0", 404), ("2/", 404), ("", 404), ("%32", 200), ("9" * 5000, 404)],
)
def test_the_path_has_a_whole_number(versions: Server, path: str, status: int) -> None:
    """GET and HEAD have the same status and headers, and a refusal is a problem."""
    answers = [versions.ask(get_request(f"{PATH}/{path}"))]
    with versions.connect() as wire:
        wire.send(get_request(f"{PATH}/{path}", "connection: close", method="HEAD"))
        head = wire.rest().split(b"\r\n")[0]
    assert answers[0].status == status
    assert head == f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}".encode()
    if status == 404:
        assert answers[0].headers["content-type"] == "application/problem+json"
        assert len(answers[0].detail) < 300


def test_the_document_describes_the_route(versions: Server) -> None:
    """With the fields that the answer has."""
    document = json.loads(versions.ask(get_request("/openapi.json")).body)
    operation = document["paths"]["/v1/policies/{policy}/versions/{version}"]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    described = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    answer = json.loads(versions.ask(get_request(f"{PATH}/2")).body)
    assert answer.keys() == described["properties"].keys() == {*described["required"]}
    assert operation["security"]
