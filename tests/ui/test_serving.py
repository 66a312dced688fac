"""How the pages are served: headers, caching, routes, what --no-ui leaves."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from rlway_serve.ui.assets import STATIC, read_assets
from tests.bundles import linear_policy, write_bundle
from tests.servers import Server, get_request, running_server
from tests.ui.policies import png

MOST_BYTES = 400_000


@pytest.mark.parametrize("path", ["/ui/", "/docs", "/ui/main.js", "/docs/page.css"])
def test_pages_and_their_files_have_a_strict_policy(server: Server, path: str) -> None:
    """Nothing from elsewhere, no script or style in the HTML, no guess at media types, and HEAD as GET."""
    answer = server.ask(get_request(path))
    assert answer.status == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data: blob:"
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = httpx.head(server.url + path)
    assert {**head.headers, "date": ""} == {**answer.headers, "date": ""}


def test_a_file_that_is_known_is_not_sent_again(server: Server) -> None:
    """304 to its ETag, alone or among others; 200 to another one."""
    first = httpx.get(f"{server.url}/ui/main.js")
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = httpx.get(f"{server.url}/ui/main.js", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert httpx.get(f"{server.url}/ui/main.js", headers={"if-none-match": '"other"'}).content == first.content


def test_every_file_together_is_small() -> None:
    """At most 400 kB, though no view needs all of them."""
    assert sum(len(asset.content) for asset in read_assets().values()) <= MOST_BYTES


@pytest.mark.parametrize(
    "path", ["/ui/nothing.js", "/ui/../settings.py", "/ui/%2e%2e/routes.py", "/ui/client/index.js", "/docs/main.js"]
)
def test_other_paths_are_not_found(server: Server, path: str) -> None:
    """As a problem, with the same headers as any other route."""
    answer = server.ask(get_request(path))
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_short_address_leads_to_the_page(server: Server) -> None:
    """By a relative path, so that a proxy may put one in front; POST is not a way to ask."""
    answer = server.ask(get_request("/ui"))
    assert (answer.status, answer.headers["location"]) == (307, "ui/")
    assert server.ask(get_request("/ui/", method="POST")).status == 405


def test_without_the_page_the_reference_stays(tmp_path: Path) -> None:
    """--no-ui: no /ui/, and /docs with all of its files."""
    linear_policy(tmp_path / "models")
    with running_server(tmp_path / "models", tmp_path / "log", "--no-ui") as server:
        assert server.ask(get_request("/ui/")).status == server.ask(get_request("/ui/main.js")).status == 404
        for path in ("/docs", "/docs/reference.js", "/docs/page.css", "/openapi.json"):
            assert server.ask(get_request(path)).status == 200


def test_the_client_is_the_one_of_the_repository() -> None:
    """The modules of clients/js, not a copy."""
    assert (STATIC / "client").resolve() == Path(__file__).parents[2] / "clients/js/src"


def test_a_version_is_described_with_the_files_that_it_shows(server: Server) -> None:
    """Any loaded version, not only the active one."""
    first, second = (httpx.get(f"{server.url}/v1/policies/cartpole/versions/{n}").json() for n in (1, 2))
    assert (first["version"], first["active"], second["active"]) == (1, False, True)
    assert first["manifest"]["version"] == 1
    assert first["files"] == ["README.md", "learning_curve.png"]
    assert set(second) == set(first)


def test_a_file_of_a_version_is_sent_with_its_media_type(server: Server) -> None:
    """With the checksum of the manifest as ETag, and for a browser as what runs nothing."""
    url = f"{server.url}/v1/policies/cartpole/versions/2/files/learning_curve.png"
    answer = httpx.get(url)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, png(64, 32), "image/png")
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert httpx.get(url, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert httpx.get(url, headers={"range": "bytes=0-7"}).content == b"\x89PNG\r\n\x1a\n"
    assert httpx.head(url).headers["content-length"] == str(len(png(64, 32)))


@pytest.mark.parametrize(
    "path",
    [
        "2/files/model.onnx",
        "2/files/manifest.json",
        "2/files/..%2F1%2FREADME.md",
        "2/files/%2Fetc%2Fpasswd",
        "2/files/trained.mp4",
        "9/files/README.md",
        "02",
        "-1",
        "x" * 300,
    ],
)
def test_other_files_and_versions_are_not_found(server: Server, path: str) -> None:
    """In one sentence."""
    answer = server.ask(get_request(f"/v1/policies/cartpole/versions/{path}"))
    assert answer.status == 404
    assert len(answer.detail) < 300


def test_a_link_that_leads_out_of_the_version_is_not_followed(tmp_path: Path) -> None:
    """Though it has the right name and content."""
    bundle = linear_policy(tmp_path / "models")
    card = tmp_path / "README.md"
    card.write_text("# elsewhere\n")
    model = (bundle.path / "model.onnx").read_bytes()
    linked = write_bundle(tmp_path / "linked", bundle.manifest, model, {"README.md": card.read_bytes()})
    with running_server(tmp_path / "linked", tmp_path / "log") as server:
        path = "/v1/policies/linear/versions/1/files/README.md"
        assert server.ask(get_request(path)).body == b"# elsewhere\n"
        (linked.path / "README.md").unlink()
        (linked.path / "README.md").symlink_to(card)
        assert server.ask(get_request(path)).status == 404


def test_keys_protect_what_the_page_reads_and_not_the_page(keyed: Server) -> None:
    """The page itself tells nothing of the policies."""
    for path in ("/ui/", "/docs", "/ui/main.js"):
        assert keyed.ask(get_request(path)).status == 200
    for path in ("", "/files/README.md"):
        asked = f"/v1/policies/cartpole/versions/2{path}"
        assert keyed.ask(get_request(asked)).status == 401
        assert keyed.ask(get_request(asked, "authorization: Bearer correct-horse")).status == 200
