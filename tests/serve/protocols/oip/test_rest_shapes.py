"""Observations and actions of every dtype and of any number of dimensions: what goes in comes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from rlway_client.contract.specs import DTYPES, AnyArray
from rlway_serve.protocols.oip.datatypes import NAMES
from tests.bundles import linear_policy
from tests.serve.protocols.oip.decoding import Decoding
from tests.serve.protocols.oip.echo_policy import echo_policy
from tests.serve.protocols.oip.infer_requests import in_json, in_octets, tensor
from tests.servers import Server, running_server

SHAPES: dict[str, tuple[int, ...]] = {"scalar": (), "vector": (3,), "table": (2, 3), "image": (2, 2, 1)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An echo of each shape and dtype."""
    folder = tmp_path_factory.mktemp("echoes") / "models"
    for form, shape in SHAPES.items():
        for dtype in DTYPES:
            echo_policy(folder, f"{form}-{dtype}", shape, dtype)
    return folder


@pytest.fixture(scope="module")
def echoes(models: Path) -> Iterator[Server]:
    with running_server(models, models.with_name("log")) as server:
        yield server


@pytest.fixture(scope="module")
def decoding(models: Path) -> Decoding:
    return Decoding(models)


def rows_of(dtype: str, shape: tuple[int, ...], rows: int) -> AnyArray:
    """Values among which are the ends of the dtype."""
    if dtype == "bool":
        return np.random.default_rng(0).integers(2, size=(rows, *shape)).astype(bool)
    limits = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    values = np.random.default_rng(0).integers(0, 100, size=(rows, *shape)).astype(dtype)
    values.reshape(-1)[:1] = limits.max if rows % 2 else limits.min
    return values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", SHAPES)
def test_an_observation_comes_back_as_it_was(echoes: Server, form: str, dtype: str) -> None:
    """One row and several; flat, nested and as octets, answered as JSON and as octets."""
    with triton.InferenceServerClient(f"{echoes.host}:{echoes.port}") as client:
        for rows in (1, 2):
            array = rows_of(dtype, SHAPES[form], rows)
            for sent in (True, False):
                for answered in (True, False):
                    given = triton.InferInput("observation", [*array.shape], NAMES[dtype])
                    given.set_data_from_numpy(array, binary_data=sent)
                    wanted = [triton.InferRequestedOutput("action", binary_data=answered)]
                    for _ in range(2):
                        found = client.infer(f"{form}-{dtype}", [given], outputs=wanted).as_numpy("action")
                        assert found.dtype == array.dtype
                        np.testing.assert_array_equal(found, array)
            nested = in_json(tensor(array=array, dtype=dtype, data=array.tolist()))
            answer = echoes.ask(nested.request(f"/v2/models/{form}-{dtype}/infer")).json["outputs"][0]
            assert (answer["data"], answer["shape"]) == (array.ravel().tolist(), [*array.shape])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", SHAPES)
def test_one_row_takes_the_plain_way(decoding: Decoding, form: str, dtype: str) -> None:
    """As octets, nested, and flat unless flat data would have to be nested; it reads what the general way reads."""
    array = rows_of(dtype, SHAPES[form], 2)[:1]
    octets = in_octets({"observation": array})
    header = str(octets.json_bytes).encode()
    name = f"{form}-{dtype}"
    assert decoding.take_plain(name, octets.body, header) is None  # not read before
    decoding.read(name, octets.body, header)
    flat, nested = (tensor(array=array, dtype=dtype, data=data) for data in (array.ravel().tolist(), array.tolist()))
    for body, head, plain in (
        (octets.body, header, True),
        (in_json(nested).body, None, True),
        (in_json(flat).body, None, form not in ("table", "image")),
    ):
        call = decoding.take_plain(name, body, head)
        assert (call is not None) == plain
        if call is not None:
            found = np.frombuffer(call.observations, dtype) if call.raw else np.array(call.observations, dtype)
            np.testing.assert_array_equal(found.reshape(array[0].shape), array[0])
        np.testing.assert_array_equal(decoding.read(name, body, head).call.observations, array)


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    """A client that changes its JSON with every request cannot fill the memory."""
    linear_policy(tmp_path)
    decoding = Decoding(tmp_path)
    array = np.zeros((1, 4), np.float32)
    for seed in range(3000):
        infer = in_octets({"observation": array}, parameters={"seed": seed})
        decoding.read("linear", infer.body, str(infer.json_bytes).encode())
    assert len(decoding.routes.reader.remembered) <= 1024
    long = in_octets({"observation": array}, parameters={"label": "x" * 3000})
    own = in_octets({"observation": array}, id="own")
    whole = in_json(tensor())
    for infer in (long, own, whole):
        size = infer.json_bytes if isinstance(infer.json_bytes, int) else len(infer.body)
        decoding.routes.reader.read(infer.body[:size], has_octets=infer.json_bytes is not None)
        assert infer.body[:size] not in decoding.routes.reader.remembered
