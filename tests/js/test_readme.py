"""Every snippet of the package's README runs: as a module in Node, or as a page in Chromium."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import linear_policy, summing_policy
from tests.js.file_server import serving_files
from tests.js.runtimes import NODE, PACKAGE, need_node, open_page
from tests.servers import PATIENCE_S, running_server

README = (PACKAGE / "README.md").read_text()
SNIPPETS = dict(enumerate(re.findall(r"```js\n(.*?)```", README, re.DOTALL)))
PAGES = re.findall(r"```html\n(.*?)```", README, re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"
# Tells the test what the page shows, or what is wrong with it.
TELL = """<script>
  const tell = (text) => fetch("/results", { method: "POST", body: JSON.stringify(text) });
  const look = () => document.body.children.length || tell(document.body.textContent);  // once it has replaced all
  new MutationObserver(look).observe(document.body, { childList: true });
  addEventListener("error", (event) => tell(event.message));
  addEventListener("unhandledrejection", (event) => tell(String(event.reason)));
</script>
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program's folder: bundles, and the packages as npm would install them."""
    need_node()
    folder = tmp_path_factory.mktemp("readme")
    linear_policy(folder / "models", "cartpole")
    summing_policy(folder / "models", "recurrent")
    packages = folder / "node_modules"
    packages.mkdir()
    (packages / "rlway-client").symlink_to(PACKAGE)
    (packages / "onnxruntime-web").symlink_to(PACKAGE / "node_modules/onnxruntime-web")
    return folder


@pytest.fixture(scope="module")
def url(work: Path) -> Iterator[str]:
    with running_server(work / "models", work / "log", "--cors-origin", "*") as server:
        yield server.url


def test_the_readme_has_its_snippets() -> None:
    """So that a renamed fence does not leave one untested."""
    assert (len(SNIPPETS), len(PAGES), README.count("```")) == (4, 1, 2 * 6)


@pytest.mark.parametrize("number", SNIPPETS)
def test_a_snippet_prints_what_it_says(number: int, work: Path, url: str) -> None:
    """What a line prints stands behind it, or on the next line."""
    snippet = SNIPPETS[number]
    file = work / f"snippet{number}.mjs"
    file.write_text(snippet.replace(ADDRESS, url))
    done = subprocess.run([*NODE, str(file)], cwd=work, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    told = [line.rpartition("// ")[2] for line in snippet.splitlines() if re.search(r"console\.log.*// |^// ", line)]
    assert done.stdout.splitlines() == told, done.stderr


def test_the_page_shows_an_action(work: Path, url: str, tmp_path: Path) -> None:
    """With an import map alone, from a server of files."""
    (work / "index.html").write_text(f"<!doctype html><body>{TELL}{PAGES[0].replace(ADDRESS, url)}</body>")
    with serving_files({"site": work}) as files, open_page(f"{files.url}/site/index.html", tmp_path / "profile"):
        shown = files.results.get(timeout=PATIENCE_S)
    assert shown == "action 0"
