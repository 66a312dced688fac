"""A models folder in a remote store, read through fsspec.

In:      a URL: s3://bucket/models, gs://, abfs://, file://, or any other that fsspec and its installed packages know.
Out:     the names in a folder, a file's bytes, a file's copy.
Refuses: a URL that fsspec cannot use (UsageError), a missing package (RuntimeMissing), a store that fails
         (StoreFailed), a missing file (FileNotFoundError). No error sentence contains a password or a signature.

Names from a store are untrusted. The caller checks each one before it becomes part of a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from rlway_client.contract.errors import RlwayError, RuntimeMissing, UsageError

MAX_QUOTED = 300  # quoted characters of a library's error message


class StoreFailed(RlwayError):
    """The store could not be read; another attempt may succeed. `why` is the store's own error."""

    def __init__(self, store: str, why: str) -> None:
        super().__init__(f"{store}: cannot be read: {why}.")
        self.why = why


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_file: bool


def is_url(models: str) -> bool:
    """Whether this is a URL rather than a path on this machine."""
    return re.match(r"[A-Za-z0-9+.-]+(://|::)", models) is not None


class Store:
    """Connects at the first use. One thread at a time."""

    def __init__(self, url: str) -> None:
        self.asked = 0  # the number of requests so far; the watchdog sees progress by it
        self._url = url
        self._root = ""
        self._files: Any = None  # an fsspec filesystem

    @property
    def name(self) -> str:
        """The URL without secrets."""
        return self._safe(self._url)

    def connect(self) -> None:
        """Connects, or clears cached listings; call it before each look."""
        if self._files is not None:
            self._files.invalidate_cache()
            return
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise RuntimeMissing(f'{self.name}: needs fsspec: pip install "rlway-serve[stores]".') from None
        try:
            files, path = url_to_fs(self._url)
        except ImportError as error:
            raise RuntimeMissing(f"{self.name}: needs a package that is not installed: {self._quote(error)}.") from None
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{self.name}: not a URL of a folder of bundles: {self._quote(error)}.") from None
        except Exception as error:
            raise self._failed(error) from error
        self._files, self._root = files, str(path).rstrip("/")

    def entries(self, *folder: str) -> list[Entry]:
        """The entries of a folder, by bare name. Raises if any of them cannot be listed."""
        with self._failures():
            listed = self._files.ls(self._count_path(folder), detail=True)
            return [Entry(entry["name"].rstrip("/").rpartition("/")[2], entry["type"] == "file") for entry in listed]

    def read(self, *file: str, limit: int) -> bytes:
        """The file's first `limit` bytes."""
        with self._failures(), self._files.open(self._count_path(file), "rb") as content:
            return bytes(content.read(limit))

    def copy(self, *file: str, to: Path) -> None:
        """Copies a whole file. The caller verifies the copy."""
        with self._failures():
            self._files.get_file(self._count_path(file), str(to))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turns the errors of any store's library into StoreFailed, except FileNotFoundError."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._failed(error) from error

    def _count_path(self, parts: tuple[str, ...]) -> str:
        """Counts a request, and returns the path that it is for."""
        self.asked += 1
        return "/".join((self._root, *parts))

    def _failed(self, error: Exception) -> StoreFailed:
        return StoreFailed(self.name, self._quote(error))

    def _quote(self, error: Exception) -> str:
        """A library's error on one short line, without secrets."""
        line = self._safe((str(error).splitlines() or [""])[0])[:MAX_QUOTED].rstrip(". ")
        return f"{type(error).__name__}: {line}" if line else type(error).__name__

    def _safe(self, text: str) -> str:
        """Removes user names, passwords and signatures from every URL in a text."""
        for password in re.findall(r"://[^/@\s:]*:([^/@\s]+)@", self._url):
            text = text.replace(password, "…").replace(unquote(password), "…")
        text = re.sub(r"(?<=://)[^/@\s]*@", "", text)
        return re.sub(r"\?\S+", "?…", text)
