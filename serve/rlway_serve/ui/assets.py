"""The files of the pages: HTML, style and modules, as they lie in the package.

In:      the folder `static`, with the JavaScript client in `static/client`.
Out:     `Asset` by its path below the folder.

All are read once, at the start, so that no request leads to the file system.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Of the JavaScript client: what asks a server. The rest runs policies in the browser, which these pages do not.
CLIENT = ("common", "contract", "remote")


class Asset(NamedTuple):
    """One file. The `etag` is of its content."""

    content: bytes
    media_type: str
    etag: str


def read_assets(folder: Path = STATIC) -> dict[str, Asset]:
    """Every file of the pages."""
    files = [*folder.glob("*"), *(file for part in CLIENT for file in (folder / "client" / part).rglob("*.js"))]
    return {str(file.relative_to(folder)): _read(file) for file in sorted(files) if file.suffix in MEDIA_TYPES}


def _read(file: Path) -> Asset:
    content = file.read_bytes()
    return Asset(content, MEDIA_TYPES[file.suffix], f'"{sha256(content).hexdigest()[:32]}"')
