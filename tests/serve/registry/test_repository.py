"""A running server follows its models folder: a new sound version becomes active, a broken one changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from tests.bundles import gaussian_policy, linear_policy, q_network_policy
from tests.serve.registry.test_startup import BREAKAGES
from tests.servers import Server, act_request, get_request, read_metrics, running_server, wait_until

pytestmark = pytest.mark.slow

ROW = [1.0, 0.0, 0.0, 0.0]
LANES = ["hot", "query"]
Living = tuple[Server, Path]


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """A server that looks at its folder twenty times a second, and the folder, which is empty at first."""
    models = tmp_path_factory.mktemp("living") / "models"
    models.mkdir()
    with running_server(models, models.with_name("log"), "--poll-s", "0.05") as server:
        assert server.policies == []
        assert server.ask(get_request("/readyz")).status == 503
        yield server, models


def act(server: Server, name: str, lane: str = "hot", **body: Any) -> tuple[int, Any]:
    """The status and the answer of a request for one action."""
    answer = server.ask(act_request({"observation": ROW} | body, path=f"/v1/policies/{name}/act", lane=lane))
    return answer.status, answer.json


def active(server: Server, name: str) -> int | None:
    """The active version, if there is one."""
    status, answer = act(server, name)
    return answer["version"] if status == 200 else None


def description(server: Server, name: str) -> dict[str, Any]:
    fields: dict[str, Any] = httpx.get(f"{server.url}/v1/policies/{name}").json()
    return fields


def wait_until_active(server: Server, name: str, version: int | None) -> None:
    wait_until(lambda: active(server, name) == version, f"{name} version {version} to act")


def set_labels(models: Path, name: str, content: str | dict[str, int]) -> None:
    """Writes labels.json in place, as an operator does."""
    (models / name / "labels.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_policy_that_appears_is_served_and_one_that_vanishes_is_not(living: Living) -> None:
    """By either lane. The first policy makes the server ready, and the only one answers `POST /act`."""
    server, models = living
    assert act(server, "comes")[0] == 404
    bundle = linear_policy(models, "comes")
    wait_until_active(server, "comes", 1)
    assert server.ask(get_request("/readyz")).json == {"status": "ready"}
    assert [act(server, "comes", lane) for lane in LANES] == [(200, {"action": 0, "version": 1})] * 2
    shutil.rmtree(bundle.path.parent)
    wait_until(lambda: act(server, "comes")[0] == 404, "the policy to go")
    hot, asgi = (
        server.ask(act_request({"observation": ROW}, path="/v1/policies/comes/act", lane=lane)) for lane in LANES
    )
    assert hot == asgi


def test_a_new_version_takes_over_between_two_requests(living: Living) -> None:
    """While five versions follow one another no request fails, no version comes back, and swaps are counted."""
    server, models = living
    linear_policy(models, "swapped")
    wait_until_active(server, "swapped", 1)
    done = Event()
    answers: dict[str, list[tuple[int, int]]] = {lane: [] for lane in LANES}

    def converse(lane: str) -> None:
        with server.connect() as wire:
            while not done.is_set():
                wire.send(act_request({"observation": ROW}, path="/v1/policies/swapped/act", lane=lane) * 8)
                for _ in range(8):
                    answer = wire.answer()
                    answers[lane].append((answer.status, answer.json["version"]))

    def everybody_has(version: int) -> bool:
        """Whether the latest answers of both callers are of this version, so that the next one may follow."""
        return all(given and given[-1] == (200, version) for given in answers.values())

    with ThreadPoolExecutor(2) as callers:
        conversations = [callers.submit(converse, lane) for lane in LANES]
        try:
            for version in range(1, 7):
                if version > 1:
                    linear_policy(models, "swapped", version=version)
                wait_until(partial(everybody_has, version), f"both callers to get version {version}")
        finally:
            done.set()
    for conversation in conversations:
        conversation.result()
    for given in answers.values():
        statuses, versions = zip(*given, strict=True)
        assert set(statuses) == {200}
        assert list(versions) == sorted(versions)
        assert set(versions) == set(range(1, 7))
    wait_until(lambda: description(server, "swapped")["versions"] == [5, 6], "the old versions to go")
    metrics = read_metrics(server)
    assert metrics["rlway_swaps_total", "swapped"] == 5
    assert metrics["rlway_versions_loaded", "swapped"] == 2
    assert metrics["rlway_version_acting", "swapped", "6"] == 1


def test_a_version_that_is_let_go_leaves_nothing_behind(living: Living) -> None:
    """Its runtime and its counts are freed with the last request that used it."""
    server, models = living
    for version in (1, 2, 3):
        linear_policy(models, "forgotten", version=version)
        wait_until_active(server, "forgotten", version)
    counted = "rlway_requests_total", "forgotten"
    wait_until(lambda: (*counted, "1", "200") not in read_metrics(server), "version 1's counts to go")
    assert (*counted, "3", "200") in read_metrics(server)


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_version_never_replaces_a_good_one(living: Living, breakage: str) -> None:
    """It is logged once, counted and described; the active version stays until a sound one comes."""
    server, models = living
    name = breakage.replace(" ", "-").replace("'", "")
    linear_policy(models, name)
    wait_until_active(server, name, 1)
    draft = linear_policy(models.with_name("drafts"), name, version=2)
    BREAKAGES[breakage][0](draft.path)
    draft.path.rename(models / name / "2")
    wait_until(lambda: bool(description(server, name)["failed"]), "the failure to show")
    (failed,) = description(server, name)["failed"]
    assert failed["version"] == 2
    assert failed["detail"].startswith(f"{name}/2")
    assert str(models) not in failed["detail"]
    assert active(server, name) == 1
    assert read_metrics(server)["rlway_load_failures_total", name, failed["reason"]] == 1
    linear_policy(models, name, version=3)
    wait_until_active(server, name, 3)
    lines = [line for line in server.log.read_text().splitlines() if f"{name}/2" in line]
    assert len(lines) == 1
    for word in BREAKAGES[breakage][1]:
        assert word in lines[0]


def test_a_version_that_was_copied_in_slowly_is_loaded_once_it_is_whole(living: Living) -> None:
    """Until its last byte arrives, a version that is copied under its own name counts as broken."""
    server, models = living
    linear_policy(models, "copied")
    wait_until_active(server, "copied", 1)
    whole = linear_policy(models.with_name("drafts"), "copied", version=2).path
    model = (whole / "model.onnx").read_bytes()
    place = models / "copied" / "2"
    place.mkdir()
    shutil.copy(whole / "manifest.json", place)
    (place / "model.onnx").write_bytes(model[:-1])
    wait_until(lambda: bool(description(server, "copied")["failed"]), "the failure to show")
    with (place / "model.onnx").open("ab") as file:
        file.write(model[-1:])
    wait_until_active(server, "copied", 2)
    assert description(server, "copied")["failed"] == []


def test_however_many_versions_are_broken_each_is_tried_again_when_it_is_mended(living: Living) -> None:
    """Each look checks only some of them for changes, and the next look checks others."""
    server, models = living
    linear_policy(models, "heap")
    for version in range(2, 101):
        (models / "heap" / str(version)).mkdir()
    wait_until(lambda: len(description(server, "heap").get("failed", [])) == 99, "all to be tried")
    for version in (2, 51, 100):
        draft = linear_policy(models.with_name("drafts"), "heap", version=version).path
        for name in ("model.onnx", "manifest.json"):
            (draft / name).rename(models / "heap" / str(version) / name)
        wait_until_active(server, "heap", version)


def test_a_version_that_is_withdrawn_gives_way_to_the_one_before(living: Living) -> None:
    """Removing the newest folder is a rollback. The same number with other contents is a new version."""
    server, models = living
    for version in (1, 2):
        linear_policy(models, "withdrawn", version=version)
        wait_until_active(server, "withdrawn", version)
    shutil.rmtree(models / "withdrawn" / "2")
    wait_until_active(server, "withdrawn", 1)
    gaussian_policy(models, "withdrawn", version=2)
    wait_until_active(server, "withdrawn", 2)
    shutil.rmtree(models / "withdrawn" / "2")
    linear_policy(models, "withdrawn", version=2)
    wait_until(lambda: act(server, "withdrawn")[1] == {"action": 0, "version": 2}, "the other version 2")


def test_the_last_version_that_is_removed_goes_on(living: Living) -> None:
    """It stays active until another version comes, or the policy's folder is removed."""
    server, models = living
    for version in (1, 2):
        linear_policy(models, "emptied", version=version)
    wait_until_active(server, "emptied", 2)
    wait_until(lambda: act(server, "emptied", version=1)[0] == 200, "version 1 to be loaded")
    (models / "emptied" / "1").rename(models.with_name("emptied-1"))
    (models / "emptied" / "2").rename(models.with_name("emptied-2"))
    linear_policy(models, "after-emptied")
    wait_until_active(server, "after-emptied", 1)
    assert active(server, "emptied") == 2
    models.with_name("emptied-1").rename(models / "emptied" / "1")
    wait_until_active(server, "emptied", 1)
    shutil.rmtree(models / "emptied")
    wait_until(lambda: act(server, "emptied")[0] == 404, "the policy to go")


def test_labels_say_which_version_acts(living: Living) -> None:
    """`stable` names the active version; moving it swaps; without it the newest is active."""
    server, models = living
    for version in range(1, 6):
        linear_policy(models, "labelled", version=version)
    wait_until_active(server, "labelled", 5)
    set_labels(models, "labelled", {"stable": 2, "canary": 4})
    wait_until_active(server, "labelled", 2)
    wait_until(lambda: description(server, "labelled")["versions"] == [2, 4, 5], "versions 2, 4 and 5 to be loaded")
    assert description(server, "labelled")["labels"] == {"stable": 2, "canary": 4}
    set_labels(models, "labelled", {"stable": 1})
    wait_until_active(server, "labelled", 1)
    (models / "labelled" / "labels.json").unlink()
    wait_until_active(server, "labelled", 5)


@pytest.mark.parametrize("lane", LANES)
def test_a_request_may_pin_a_version_or_a_label(living: Living, lane: str) -> None:
    """Every loaded version answers, whatever its spec. Others are 404, with the list of loaded ones."""
    server, models = living
    name = f"pinned-{lane}"
    linear_policy(models, name, version=3)
    gaussian_policy(models, name, version=4)
    linear_policy(models, name, version=5)
    set_labels(models, name, {"stable": 3, "canary": 4})
    wait_until(lambda: description(server, name).get("versions") == [3, 4, 5], "all versions to be loaded")
    assert act(server, name, lane)[1] == {"action": 0, "version": 3}
    for pin in ({"label": "canary"}, {"version": 4}):
        status, answer = act(server, name, lane, **pin, explore={"sigma": 1.0}, seed=1)
        assert (status, answer["version"], len(answer["action"])) == (200, 4, 2)
    escaped = b'{"observation": [1, 0, 0, 0], "\\u0076ersion": 4}'
    marked = '{"observation": [1, 0, 0, 0], "label": "canary"}'.encode("utf-8-sig")
    for body in (escaped, marked):
        assert server.ask(act_request(body, path=f"/v1/policies/{name}/act", lane=lane)).json["version"] == 4
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        wide = act_request(marked.decode("utf-8-sig").encode(encoding), path=f"/v1/policies/{name}/act", lane=lane)
        assert server.ask(wide).status == 400
    half = b'{"observation": [1, 0, 0, 0], "label": "\\ud800"}'
    assert server.ask(act_request(half, path=f"/v1/policies/{name}/act", lane=lane)).status == 404
    assert act(server, name, lane, label="stable")[1]["version"] == 3
    for pin in ({"label": "beta"}, {"version": 9}, {"version": -1}, {"label": ""}):
        status, problem = act(server, name, lane, **pin)
        assert status == 404
        assert "served: versions 3, 4, 5 (stable is 3, canary is 4)" in problem["detail"]
    status, problem = act(server, name, lane, version=3, label="stable")
    assert (status, problem["detail"]) == (400, "body: expected either `version` or `label`, got both.")
    assert act(server, name, lane, label=3)[0] == 400


@pytest.mark.parametrize("lane", LANES)
def test_a_refusal_counts_under_the_version_that_was_asked(living: Living, lane: str) -> None:
    """A body that does not fit a pinned version counts under that version, not under the active one."""
    server, models = living
    name = f"refused-{lane}"
    for version in (1, 2):
        linear_policy(models, name, version=version)
        wait_until_active(server, name, version)
    assert act(server, name, lane, version=1, observation=[1.0])[0] == 422
    refusals = {key[2]: n for key, n in read_metrics(server).items() if key[:2] == ("rlway_refusals_total", name)}
    assert (refusals["1"], "2" in refusals) == (1, False)


def test_pinned_requests_are_answered_alike_by_both_lanes(living: Living) -> None:
    """The answers are equal byte for byte, whether the version is loaded or not."""
    server, models = living
    linear_policy(models, "alike")
    wait_until_active(server, "alike", 1)
    set_labels(models, "alike", {"stable": 1})
    wait_until(lambda: act(server, "alike", label="stable")[0] == 200, "the label")
    for pin in ({"label": "stable"}, {"version": 1}, {"version": 2}, {"label": "x"}, {"version": 1, "label": "stable"}):
        body = {"observations": [ROW, ROW]} | pin
        hot, asgi = (server.ask(act_request(body, path="/v1/policies/alike/act", lane=lane)) for lane in LANES)
        assert hot == asgi


def test_a_stable_version_that_is_broken_is_not_replaced_by_a_newer_one(living: Living) -> None:
    """A sound version below `stable` becomes active, and never one above it."""
    server, models = living
    for version in (1, 2, 3):
        linear_policy(models.with_name("drafts"), "meant", version=version)
    draft = models.with_name("drafts") / "meant"
    (draft / "2" / "model.onnx").write_bytes(b"damaged")
    set_labels(draft.parent, "meant", {"stable": 2})
    draft.rename(models / "meant")
    wait_until_active(server, "meant", 1)
    wait_until(lambda: act(server, "meant", version=3)[0] == 200, "version 3 to be loaded")
    assert active(server, "meant") == 1


def test_a_label_that_moves_to_a_broken_version_changes_nothing(living: Living) -> None:
    """The active version stays until the label names a sound one, or the active version is removed."""
    server, models = living
    for version in (1, 3):
        linear_policy(models, "moved", version=version)
    wait_until_active(server, "moved", 3)
    draft = linear_policy(models.with_name("drafts"), "moved", version=2).path
    (draft / "model.onnx").write_bytes(b"damaged")
    draft.rename(models / "moved" / "2")
    set_labels(models, "moved", {"stable": 2})
    wait_until(lambda: description(server, "moved")["labels"] == {"stable": 2}, "the label")
    wait_until(lambda: bool(description(server, "moved")["failed"]), "the failure to show")
    wait_until(lambda: act(server, "moved", version=1)[0] == 200, "version 1 to be loaded")
    assert active(server, "moved") == 3
    shutil.rmtree(models / "moved" / "3")
    wait_until_active(server, "moved", 1)


def test_labels_that_cannot_be_read_change_nothing(living: Living) -> None:
    """The labels read before stay, and the fault is shown until the file is repaired."""
    server, models = living
    for version in (1, 2):
        linear_policy(models, "mislabelled", version=version)
    set_labels(models, "mislabelled", {"stable": 1})
    wait_until_active(server, "mislabelled", 1)
    for content in ("{", '{"stable": "1"}', '{"stable": 0}', '{"": 1}', '["stable"]'):
        set_labels(models, "mislabelled", content)
        wait_until(lambda: description(server, "mislabelled")["labels_fault"] is not None, f"the fault of {content}")
        assert active(server, "mislabelled") == 1
        set_labels(models, "mislabelled", {"stable": 1})
        wait_until(lambda: description(server, "mislabelled")["labels_fault"] is None, "the mended file")
    assert "mislabelled/labels.json" in server.log.read_text()


def test_a_policy_without_a_sound_version_is_not_ready(living: Living) -> None:
    """It alone answers 503, with the reason, by either lane; the others act."""
    server, models = living
    linear_policy(models, "fine")
    wait_until_active(server, "fine", 1)
    draft = linear_policy(models.with_name("drafts"), "hopeless").path
    (draft / "model.onnx").write_bytes(b"damaged")
    draft.parent.rename(models / "hopeless")
    wait_until(lambda: "not sound (damaged)" in act(server, "hopeless")[1]["detail"], "the reason to show")
    for lane in LANES:
        status, problem = act(server, "hopeless", lane)
        assert (status, str(models) in problem["detail"]) == (503, False)
        assert act(server, "hopeless", lane, version=1) == act(server, "hopeless", lane, label="x") == (503, problem)
    assert httpx.get(f"{server.url}/v1/policies/hopeless").status_code == 503
    listed = {policy["name"]: policy for policy in httpx.get(f"{server.url}/v1/policies").json()["policies"]}
    assert (listed["hopeless"]["version"], listed["hopeless"]["versions"]) == (None, [])
    assert active(server, "fine") == 1


def test_a_slow_load_holds_up_nobody(living: Living) -> None:
    """While a large model is loaded, its predecessor answers, and other policies are loaded and act."""
    server, models = living
    linear_policy(models, "large")
    wait_until_active(server, "large", 1)
    q_network_policy(models, "large", (3072, 3072), version=2)
    linear_policy(models, "quick")
    wait_until_active(server, "quick", 1)
    assert active(server, "large") == 1
    wait_until_active(server, "large", 2)


def test_a_load_that_hangs_holds_up_nobody(tmp_path: Path, log: Path) -> None:
    """While a file never gives its bytes, the version before it is active, others are loaded, and a stop works."""
    models = tmp_path / "models"
    linear_policy(models, "hanging")
    with running_server(models, log, "--poll-s", "0.05") as server:
        (models / "hanging" / "2").mkdir()
        os.mkfifo(models / "hanging" / "2" / "manifest.json")
        for version in (1, 2):
            linear_policy(models, "other", version=version)
            wait_until_active(server, "other", version)
        assert active(server, "hanging") == 1
        linear_policy(models, "hanging", version=3)
        wait_until_active(server, "hanging", 3)
        assert server.stop() == 0


def test_a_default_that_is_not_there_yet_keeps_the_server_unready(tmp_path: Path, log: Path) -> None:
    """Once the policy that `--default` names is there, the server is ready and `POST /act` answers."""
    models = tmp_path / "models"
    linear_policy(models, "other")
    with running_server(models, log, "--poll-s", "0.05", "--default", "awaited") as server:
        assert active(server, "other") == 1
        assert server.ask(get_request("/readyz")).status == 503
        assert server.ask(act_request({"observation": ROW}, path="/act")).status == 404
        linear_policy(models, "awaited")
        wait_until(lambda: server.ask(get_request("/readyz")).status == 200, "the default to be served")
        for lane in LANES:
            assert server.ask(act_request({"observation": ROW}, path="/act", lane=lane)).status == 200


def test_without_polling_the_folder_is_read_once(tmp_path: Path, log: Path) -> None:
    """With `--poll-s 0`, labels count, and later changes do not."""
    models = tmp_path / "models"
    for version in (1, 2, 3):
        linear_policy(models, version=version)
    set_labels(models, "linear", {"stable": 1})
    with running_server(models, log, "--poll-s", "0") as server:
        assert server.policies == [{"name": "linear", "version": 1}]
        wait_until(lambda: description(server, "linear")["versions"] == [1, 2, 3], "the newest two to be loaded")
        linear_policy(models, "late")
        assert act(server, "late")[0] == 404
