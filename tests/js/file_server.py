"""Serves files to the tests in a browser, and takes their results and their wishes.

In:      folders by the path under which they are served; what the tests are given; what they may ask for.
Out:     the URL; the results that were posted.
Refuses: other paths (404).

    GET /given             what the tests are given, as JSON
    GET /page              a page that runs the tests
    POST /results          the tests have ended
    POST /wish/NAME        does what `wishes` has under the name, and answers when it is done
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
}
# The bundler's part in a page: where the packages are.
PAGE = """<!doctype html>
<meta charset="utf-8" />
<script type="importmap">
  {
    "imports": {
      "rlway-client": "/clients/js/src/index.js",
      "onnxruntime-web": "/clients/js/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs"
    }
  }
</script>
<script type="module">%s</script>
"""
RUN = "import { runAll } from '/tests/js/run.js'; await runAll(location.origin);"


class FileServer(ThreadingHTTPServer):
    """`page` is the script of /page."""

    daemon_threads = True

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folders = folders
        self.given: dict[str, Any] = {}
        self.wishes: dict[str, Callable[[], None]] = {}
        self.page = RUN
        self.results: queue.Queue[Any] = queue.Queue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that ends closes its connections as it likes."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # the base class calls it so
        top, _, rest = self.path.removeprefix("/").partition("/")
        if self.path == "/given":
            self._answer(200, "application/json", json.dumps(self.server.given).encode())
        elif self.path == "/page":
            self._answer(200, "text/html", (PAGE % self.server.page).encode())
        elif top in self.server.folders and (file := self.server.folders[top] / rest).is_file():
            self._answer(200, TYPES.get(file.suffix, "application/octet-stream"), file.read_bytes())
        else:
            self._answer(404, "text/plain", b"no such file")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/results":
            self.server.results.put(json.loads(body))
        else:
            self.server.wishes[self.path.removeprefix("/wish/")]()
        self._answer(200, "application/json", b"null")

    def _answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving_files(folders: Mapping[str, Path]) -> Iterator[FileServer]:
    """The server, while it runs on a thread of its own."""
    with FileServer(folders) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
