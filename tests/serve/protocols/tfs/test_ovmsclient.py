"""ovmsclient, a client of TensorFlow Serving's API, unmodified and over REST."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ovmsclient import make_http_client
from ovmsclient.tfs_compat.base.errors import InvalidInputError, ModelNotFoundError

from tests.bundles import BIAS, WEIGHTS
from tests.serve.protocols.tfs.asking import ACTIONS, OTHER, ROW
from tests.servers import Server

ROWS = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture
def client(serving: Server) -> Iterator[Any]:
    client = make_http_client(f"{serving.host}:{serving.port}")
    yield client
    client.session.close()


def test_it_asks_for_actions(client: Any) -> None:
    """Arrays and lists, of a discrete, a continuous and a dict policy, with and without a version."""
    rows = np.array([ROW, OTHER], np.float32)
    assert client.predict({"observation": rows}, "linear").tolist() == ACTIONS
    assert client.predict({"0/observation": rows.tolist()}, "linear", 2).tolist() == ACTIONS
    np.testing.assert_allclose(
        client.predict({"observation": rows}, "gaussian"), 2 * np.tanh(rows @ WEIGHTS), rtol=1e-5
    )
    camera, arm = np.array([[200, 10]], np.uint8), np.array([[0, 0, 1]], np.float32)
    expected = (camera * 0.01 + arm @ WEIGHTS[:3]).argmax(axis=1)
    assert client.predict({"camera": camera, "joints_arm": arm}, "robot").tolist() == expected.tolist()


def test_it_plays_an_episode(client: Any) -> None:
    """By the state, and by an id that it can only send as an input."""
    state = np.zeros((1, 4), np.float32)
    for i, row in enumerate(ROWS):
        kept = client.predict({"observation": row[None], "sum": state}, "summing")
        state = kept["next_sum"].astype(np.float32)
        named = client.predict({"observation": row[None], "step_type": [min(i, 1)], "episode": [7]}, "summing")
        expected = (ROWS[: i + 1].sum(axis=0) @ WEIGHTS + BIAS).argmax()
        assert [kept["action"].tolist(), named.tolist()] == [[expected]] * 2


def test_it_reads_status_and_metadata(client: Any) -> None:
    """Metadata come as TensorFlow Serving prints them."""
    status = client.get_model_status("linear")
    assert {version: one["state"] for version, one in status.items()} == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"}
    assert client.get_model_status("linear", 2) == {2: {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}
    metadata = client.get_model_metadata("linear")
    assert metadata["model_spec"] == {"name": "linear", "signature_name": "", "version": "1"}


def test_it_raises_its_own_errors(client: Any) -> None:
    """For an unknown model, an unknown version and a wrong shape."""
    with pytest.raises(ModelNotFoundError, match="Servable not found for request"):
        client.predict({"observation": [ROW]}, "nobody")
    with pytest.raises(ModelNotFoundError, match="Could not find version 9"):
        client.get_model_status("linear", 9)
    with pytest.raises(InvalidInputError, match="observation"):
        client.predict({"observation": [[1.0]]}, "linear")
