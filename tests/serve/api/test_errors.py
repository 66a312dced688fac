"""Every row of the error table: status, problem+json, one sentence that names the place, nothing about the server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.servers import ACT, LANES, OCTETS, PROBLEM, Answer, Server, act_request, get_request

ROW = [1.0, 0.5, -1.0, 2.0]
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture(params=["hot", "asgi"])
def lane(request: pytest.FixtureRequest) -> str:
    return "query" if request.param == "asgi" else "hot"


def check_problem(answer: Answer, status: int, server: Server) -> dict[str, Any]:
    """Checks for an RFC 9457 document that reveals nothing about the server."""
    assert (answer.status, answer.headers["content-type"]) == (status, PROBLEM), answer
    problem: dict[str, Any] = answer.json
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"].endswith((".", ")")) or ": expected " in problem["detail"]
    for secret in (b"Traceback", b".py", b"site-packages", str(server.log.parent).encode()):
        assert secret not in answer.body
    return problem


def refused(server: Server, lane: str, body: bytes | dict[str, Any], status: int, **how: Any) -> dict[str, Any]:
    return check_problem(server.ask(act_request(body, lane=lane, **how)), status, server)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{]",
        b"\x00\x01\x02",
        b'{"observation": [1,2,3,4]} trailing',
        b'{"observation": [1,2,3,4,]}',
        b"{'observation': [1,2,3,4]}",
        b'{"observation": "\xff\xfe"}',
        b"[" * 100_000,
        b'{"observation": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json_is_malformed(linear: Server, lane: str, body: bytes) -> None:
    """400, also for JSON nested deeper than a parser can follow."""
    assert "JSON" in refused(linear, lane, body, 400)["detail"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b"true", b'"text"', b"[[1,2,3,4]]"])
def test_json_that_is_no_object_is_malformed(linear: Server, lane: str, body: bytes) -> None:
    """400, since the protocol takes an object."""
    assert "object" in refused(linear, lane, body, 400)["detail"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "neither"),
        ({"observation": ROW, "observations": [ROW]}, "both"),
        ({"observation": ROW, "observaton": ROW}, "observaton"),
        ({"obs": ROW}, "obs"),
        ({"observation": ROW, "seed": -1}, "seed"),
        ({"observation": ROW, "seed": "7"}, "seed"),
        ({"observation": ROW, "seed": 1.5}, "seed"),
        ({"observation": ROW, "outputs": "q_values"}, "outputs"),
        ({"observation": ROW, "outputs": [1]}, "outputs"),
        ({"observation": ROW, "deadline_ms": 0}, "deadline_ms"),
        ({"observation": ROW, "deadline_ms": -5}, "deadline_ms"),
        ({"observation": ROW, "deadline_ms": "soon"}, "deadline_ms"),
        ({"observation": ROW, "version": "newest"}, "version"),
        ({"observation": ROW, "explore": 0.1}, "explore"),
        ({"observation": ROW, "explore": {"epsilon": "some"}}, "explore"),
        ({"observation": ROW, "explore": {"magic": 1}}, "magic"),
    ],
    ids=str,
)
def test_what_is_not_the_protocols_shape_is_malformed(
    linear: Server, lane: str, body: dict[str, Any], word: str
) -> None:
    """400 for fields that are unknown, missing, repeated or of another type; the detail names the field."""
    assert word in refused(linear, lane, body, 400)["detail"]


@pytest.mark.parametrize(
    ("observation", "path", "expected", "got"),
    [
        ([1, 2, 3, NAN], "observation[3]", "finite float32", "NaN"),
        ([1, INFINITY, 3, 4], "observation[1]", "finite float32", "Infinity"),
        ([-INFINITY, 2, 3, 4], "observation[0]", "finite float32", "-Infinity"),
        ([1, 2, 1e39, 4], "observation[2]", "finite float32", "1e+39"),
        ([1, 2, -1e39, 4], "observation[2]", "finite float32", "-1e+39"),
        ([1, 2, 3, "4"], "observation[3]", "float32", "a string"),
        ([1, None, 3, 4], "observation[1]", "float32", "null"),
        ([True, 2, 3, 4], "observation[0]", "float32", "true"),
        ([1, 2, 3, [4]], "observation[3]", "float32", "an array of 1"),
        ([1, 2, 3, {}], "observation[3]", "float32", "an object"),
        ([1, 2, 3], "observation", "float32[4]", "3 elements"),
        ([1, 2, 3, 4, 5], "observation", "float32[4]", "5 elements"),
        ([1], "observation", "float32[4]", "1 element"),
        ([], "observation", "float32[4]", "0 elements"),
        ([[1, 2, 3, 4]], "observation", "float32[4]", "1 element"),
        (1, "observation", "float32[4]", "1"),
        (None, "observation", "float32[4]", "null"),
        ("abcd", "observation", "float32[4]", "a string"),
        ({"x": 1}, "observation", "float32[4]", "an object"),
    ],
    ids=str,
)
def test_a_misfit_is_named_by_its_path(
    linear: Server, lane: str, observation: Any, path: str, expected: str, got: str
) -> None:
    """422: the detail is `path: expected …, got …`, and `errors` has the three separately."""
    problem = refused(linear, lane, {"observation": observation}, 422)
    assert problem["detail"].rstrip(".") == f"{path}: expected {expected}, got {got}"
    assert problem["errors"] == [{"path": path, "expected": expected, "got": got}]


@pytest.mark.parametrize("digits", [50, 400, 5000])
def test_a_number_too_large_for_any_float_is_named_by_its_path(linear: Server, lane: str, digits: int) -> None:
    """422 however many digits it has, since it is valid JSON that does not fit the spec."""
    body = b'{"observation": [0, 0, 1%s, 0]}' % (b"0" * digits)
    assert refused(linear, lane, body, 422)["errors"][0]["path"] == "observation[2]"


@pytest.mark.parametrize(
    ("value", "fits"),
    [(3.4028234663852886e38, True), (3.4028235677973366e38, False), (3.5e38, False), (-3.5e38, False)],
)
def test_the_largest_float32_is_the_last_that_fits(linear: Server, lane: str, value: float, fits: bool) -> None:
    """A number that would round to infinity is refused; the largest float32 is served."""
    answer = linear.ask(act_request({"observation": [0, 0, 0, value]}, lane=lane))
    assert answer.status == (200 if fits else 422)


def test_every_fault_of_a_batch_is_named(linear: Server, lane: str) -> None:
    """`errors` lists each place, `observations[row][element]`, in order."""
    rows = [ROW, [NAN, 2, 3, INFINITY], [1, 1e39, 3, 4], [1, 2], ROW, None]
    paths = [fault["path"] for fault in refused(linear, lane, {"observations": rows}, 422)["errors"]]
    assert paths == [
        "observations[1][0]",
        "observations[1][3]",
        "observations[2][1]",
        "observations[3]",
        "observations[5]",
    ]


def test_overflow_alone_is_named_in_a_batch(linear: Server, lane: str) -> None:
    """Numbers that float32 cannot hold are found in the same way as NaN."""
    rows = [ROW, ROW, [1, 1e39, 3, -1e39]]
    problem = refused(linear, lane, {"observations": rows}, 422)
    assert [fault["path"] for fault in problem["errors"]] == ["observations[2][1]", "observations[2][3]"]
    assert problem["detail"].startswith("observations[2][1]: expected finite float32, got 1e+39")


def test_a_flood_of_faults_is_cut_short(linear: Server, lane: str) -> None:
    """A thousand wrong rows do not give a thousand errors."""
    problem = refused(linear, lane, {"observations": [[NAN] * 4] * 1000}, 422)
    assert 1 < len(problem["errors"]) <= 100


@pytest.mark.parametrize("observations", [[], None, 3, "text", {}])
def test_a_batch_needs_a_row(linear: Server, lane: str, observations: Any) -> None:
    """422 at `observations` for an empty list and for a value that is no list."""
    assert refused(linear, lane, {"observations": observations}, 422)["errors"][0]["path"] == "observations"


@pytest.mark.parametrize("length", [0, 1, 15, 17, 31])
def test_a_raw_tensor_is_whole_rows(linear: Server, lane: str, length: int) -> None:
    """422 unless the length is a multiple of the 16 bytes of a row; the detail has the length."""
    assert f"{length} bytes" in refused(linear, lane, b"\0" * length, 422, media_type=OCTETS)["detail"]


def test_a_raw_nan_is_found(linear: Server, lane: str) -> None:
    """422 with row and element, as in JSON."""
    raw = np.array([ROW, [0, 0, NAN, 0]], "<f4").tobytes()
    assert refused(linear, lane, raw, 422, media_type=OCTETS)["errors"][0]["path"].endswith("[1][2]")


@pytest.mark.parametrize(
    ("policy", "explore", "path"),
    [
        ("linear", {"sigma": 1.0}, "explore.sigma"),
        ("gaussian", {"epsilon": 0.1}, "explore.epsilon"),
        ("gaussian", {"temperature": 1.0}, "explore.temperature"),
        ("linear", {"epsilon": 1.5}, "explore.epsilon"),
        ("linear", {"epsilon": -0.1}, "explore.epsilon"),
        ("linear", {"temperature": -1}, "explore.temperature"),
        ("linear", {"temperature": NAN}, "explore.temperature"),
        ("gaussian", {"sigma": INFINITY}, "explore.sigma"),
        ("linear", {}, "explore"),
        ("linear", {"epsilon": 0.1, "temperature": 1.0}, "explore"),
    ],
    ids=str,
)
def test_an_exploration_that_the_policy_has_not_is_refused(
    several: Server, lane: str, policy: str, explore: dict[str, float], path: str
) -> None:
    """422 at the field, for the wrong kind, a value out of range, none or two kinds."""
    body = {"observation": ROW, "explore": explore}
    problem = refused(several, lane, body, 422, path=f"/v1/policies/{policy}/act")
    assert problem["errors"][0]["path"] == path


@pytest.mark.parametrize("temperature", [1e38, 1e300])
def test_a_temperature_beyond_float32_is_no_server_error(linear: Server, lane: str, temperature: float) -> None:
    """However high, the answer is an action or a refusal, never 500."""
    body = {"observations": [ROW] * 50, "explore": {"temperature": temperature}, "seed": 1}
    assert linear.ask(act_request(body, lane=lane)).status in (200, 422)


@pytest.mark.parametrize("sigma", [1e38, 1e300])
def test_a_sigma_beyond_float32_is_no_server_error(several: Server, lane: str, sigma: float) -> None:
    """However large, the answer is an action or a refusal, never 500."""
    body = {"observations": [ROW] * 50, "explore": {"sigma": sigma}, "seed": 1}
    assert several.ask(act_request(body, lane=lane, path="/v1/policies/gaussian/act")).status in (200, 422)


def test_an_unknown_output_is_named_by_its_index(linear: Server, lane: str) -> None:
    """422 at `outputs[i]`, with the names of the outputs that exist."""
    problem = refused(linear, lane, {"observation": ROW, "outputs": ["colour"]}, 422)
    assert problem["errors"][0]["path"] == "outputs[0]"
    assert "q_values" in problem["detail"]
    problem = refused(linear, lane, {"observation": ROW, "outputs": ["q_values", "colour"]}, 422)
    assert problem["errors"][0]["path"] == "outputs[1]"


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x"])
def test_an_unknown_media_type_is_refused(linear: Server, lane: str, media_type: str) -> None:
    """415 names the accepted media types and the one that was sent."""
    detail = refused(linear, lane, {"observation": ROW}, 415, media_type=media_type)["detail"]
    assert "application/json" in detail
    assert media_type.partition(";")[0] in detail


def test_a_version_that_is_not_served_is_not_found(linear: Server, lane: str) -> None:
    """404 names the versions that are served."""
    assert "version 1" in refused(linear, lane, {"observation": ROW, "version": 2}, 404)["detail"]


def test_an_unknown_policy_is_not_found(linear: Server, lane: str) -> None:
    """404 names the policies that are served."""
    problem = refused(linear, lane, {"observation": ROW}, 404, path="/v1/policies/nobody/act")
    assert "nobody" in problem["detail"]
    assert "linear" in problem["detail"]


def test_several_policies_without_a_default_are_named(several: Server, lane: str) -> None:
    """`POST /act` is 404, with the names to choose from."""
    detail = refused(several, lane, {"observation": ROW}, 404, path="/act")["detail"]
    assert "linear" in detail
    assert "gaussian" in detail


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/policies/nobody", "/v1/policies/linear/dance"])
def test_an_unknown_route_is_not_found(linear: Server, path: str) -> None:
    """404 as problem+json, like all errors."""
    check_problem(linear.ask(get_request(path)), 404, linear)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", ACT, "POST"),
        ("PUT", ACT, "POST"),
        ("DELETE", ACT, "POST"),
        ("PATCH", "/act", "POST"),
        ("POST", "/healthz", "GET"),
        ("DELETE", "/v1/policies/linear", "GET"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(linear: Server, method: str, path: str, allowed: str) -> None:
    """405 as problem+json, with `allow`."""
    answer = linear.ask(get_request(path, "content-length: 0", method=method))
    check_problem(answer, 405, linear)
    assert allowed in answer.headers["allow"]


@pytest.mark.parametrize("deadline_ms", [0.001, 1e-9])
def test_a_deadline_too_short_is_refused(linear: Server, lane: str, deadline_ms: float) -> None:
    """504, and the request does not run."""
    assert "deadline" in refused(linear, lane, {"observation": ROW, "deadline_ms": deadline_ms}, 504)["detail"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic correct-horse", "correct-horse"])
def test_without_a_key_nobody_acts(strict: Server, lane: str, authorization: str | None) -> None:
    """401 with `www-authenticate: Bearer`, for no header and for a header without a bearer key."""
    headers = [] if authorization is None else [f"authorization: {authorization}"]
    answer = strict.ask(act_request({"observation": ROW}, lane=lane, headers=headers))
    check_problem(answer, 401, strict)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "wrong", ["wrong-horse", "correct-hors", "correct-horses", "# robots", "CORRECT-HORSE", "\xe9"]
)
def test_a_wrong_key_is_refused(strict: Server, lane: str, wrong: str) -> None:
    """403, also for a part of a key, a comment of the file, and bytes that are not ASCII."""
    headers = [f"authorization: Bearer {wrong}"]
    check_problem(strict.ask(act_request({"observation": ROW}, lane=lane, headers=headers)), 403, strict)


@pytest.mark.parametrize("header", ["authorization: Bearer another-key", "Authorization: bearer  correct-horse "])
def test_any_key_of_the_file_lets_in(strict: Server, lane: str, header: str) -> None:
    """Each line is a key; the scheme's case and spaces around the key do not matter."""
    assert strict.ask(act_request({"observation": ROW}, lane=lane, headers=[header])).status == 200


@pytest.mark.parametrize("path", ["/v1/policies", "/v1/policies/linear"])
def test_a_key_is_wanted_for_the_manifest(strict: Server, key: str, path: str) -> None:
    """The description of a policy needs a key as well."""
    check_problem(strict.ask(get_request(path)), 401, strict)
    check_problem(strict.ask(get_request(path, "authorization: Bearer wrong")), 403, strict)
    assert strict.ask(get_request(path, key)).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_need_no_key(strict: Server, path: str) -> None:
    """Orchestrators and Prometheus hold no keys."""
    assert strict.ask(get_request(path)).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        act_request({"observation": ROW}, path="/v1/policies/nobody/act"),
        get_request("/v1/policies/nobody"),
    ],
    ids=["act", "describe"],
)
def test_without_a_key_nobody_learns_the_policies_names(strict: Server, request_bytes: bytes) -> None:
    """An unknown policy is 401 too, since the 404 lists the policies."""
    assert "linear" not in check_problem(strict.ask(request_bytes), 401, strict)["detail"]


@pytest.mark.parametrize("lane", LANES)
def test_a_body_over_the_limit_is_refused(strict: Server, key: str, lane: str) -> None:
    """413 with the limit, with and without a declared length; the connection can be used again."""
    with strict.connect() as wire:
        wire.send(act_request(b" " * 60_000, lane=lane, headers=[key]))
        assert "2000 bytes" in check_problem(wire.answer(), 413, strict)["detail"]
        wire.send(act_request({"observation": ROW}, headers=[key]))
        assert wire.answer().status == 200


def test_an_announced_giant_is_refused_before_it_is_sent(strict: Server, key: str) -> None:
    """413 after the headers, before the body is uploaded."""
    with strict.connect() as wire:
        wire.send(act_request(b"", headers=[key]).replace(b"content-length: 0", b"content-length: 1000000000"))
        check_problem(wire.answer(), 413, strict)


def test_a_full_queue_says_when_to_come_back(strict: Server, key: str) -> None:
    """Of ten requests in one packet, the one that may wait is answered and nine get 429 with `retry-after`."""
    with strict.connect() as wire:
        wire.send(act_request({"observation": ROW}, headers=[key]) * 10)
        answers = [wire.answer() for _ in range(10)]
        assert [answer.status for answer in answers] == [200] + [429] * 9
        for answer in answers[1:]:
            check_problem(answer, 429, strict)
            assert int(answer.headers["retry-after"]) >= 1
        wire.send(act_request({"observation": ROW}, headers=[key]))
        assert wire.answer().status == 200


def test_a_batch_larger_than_the_queue_runs_when_nothing_waits(strict: Server, key: str) -> None:
    """The capacity limits waiting observations, not the size of a single request."""
    body = {"observations": [[1, 0, 0, 0]] * 20}
    assert strict.ask(act_request(body, headers=[key])).json["actions"] == [0] * 20


@pytest.mark.parametrize("lane", ["hot", "query"])
def test_a_compressed_body_is_refused(linear: Server, lane: str) -> None:
    """415; the compressed bytes are not read as an observation."""
    request = act_request(b"{}", lane=lane, headers=["content-encoding: gzip"])
    check_problem(linear.ask(request), 415, linear)


def test_a_trailing_slash_is_another_route(linear: Server) -> None:
    """404, and no redirection to an address built from the caller's headers."""
    check_problem(linear.ask(act_request(b"{}", path="/act/")), 404, linear)
