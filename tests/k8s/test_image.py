"""What the Dockerfile promises: a small server that is not root, from locked packages only."""

from __future__ import annotations

import inspect
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rlway_serve.cli import serve

from .dockerfile import Dockerfile, Stage
from .kustomize import Manifest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "k8s" / "build-image"

both_images = pytest.mark.parametrize("name", ["serve", "train"])


@pytest.fixture
def dockerfile() -> Dockerfile:
    """The project's."""
    return Dockerfile.parse((ROOT / "Dockerfile").read_text())


# ------------------------------------------------------------------------------------------------ what goes in


def test_every_stage_starts_from_the_base_that_the_builder_chose(dockerfile: Dockerfile) -> None:
    """One argument replaces the base of every stage, so no registry is needed."""
    assert [i.value.partition("=")[0] for i in dockerfile.before if i.name == "ARG"] == ["BASE_IMAGE"]
    names = [stage.name for stage in dockerfile.stages if stage.name]
    assert {stage.origin for stage in dockerfile.stages} <= {"${BASE_IMAGE}", *names}
    assert dockerfile.lineage("serve")[-1].origin == "${BASE_IMAGE}"


def test_the_server_is_what_comes_out_without_a_target(dockerfile: Dockerfile) -> None:
    """`docker build .` makes the server, not the image of 2.7 GB."""
    assert dockerfile.stages[-1] == Stage("", "serve", [])


def test_everything_copied_is_there_and_not_ignored(dockerfile: Dockerfile) -> None:
    """No COPY line outlives the file that it names, and .dockerignore lets each of them in."""
    sources = _sources(dockerfile)
    assert {"locks/serve.txt", "clients/python", "clients/js/src", "serve", "train", "export"} <= sources
    for source in sources:
        assert (ROOT / source).exists()
        assert not _ignored(source)


@pytest.mark.parametrize(
    "path",
    [".git/HEAD", ".venv/bin/python", "runs/a/run.json", "models/cartpole/1/model.onnx", "clients/js/index.js",
     "tests/k8s/test_image.py", "serve/rlway_serve/__pycache__/app.cpython-311.pyc", ".env"],
)  # fmt: skip
def test_nothing_else_is_sent_to_the_builder(path: str) -> None:
    """History, environments, runs, models and stray secrets stay out of the build."""
    assert _ignored(path)


def test_the_server_has_no_tensorflow() -> None:
    """Nor anything that only builds or tests."""
    unwanted = {"tensorflow", "tf-agents", "dm-reverb", "keras", "hatchling", "pytest", "mypy", "ruff", "setuptools"}
    locked = _locked("serve.txt")
    assert {"onnxruntime", "uvicorn", "fastapi"} <= locked
    assert not locked & unwanted


def test_the_packages_come_from_locks_with_hashes(dockerfile: Dockerfile) -> None:
    """Every pip line either checks hashes or asks no index at all."""
    commands = [
        command.strip()
        for stage in dockerfile.stages
        for run in stage.all("RUN")
        for command in run.value.split("&&")
        if re.search(r"bin/pip\b.* (install|wheel) ", command)
    ]
    assert len(commands) == 8
    for command in commands:
        assert "--require-hashes" in command or "--no-index" in command, command


def test_the_build_backend_comes_with_all_it_needs(dockerfile: Dockerfile) -> None:
    """The names picked out of the lock are hatchling and its dependencies, no fewer and no more."""
    (run,) = dockerfile.stage("tools").all("RUN")
    picked = re.search(r"/\^\(([a-z|-]+)\)==/", run.value)
    assert picked is not None
    assert set(picked[1].split("|")) == _closure("hatchling")
    assert set(picked[1].split("|")) <= _locked("serve-dev.txt")


@both_images
def test_no_tool_of_the_build_is_kept(dockerfile: Dockerfile, name: str) -> None:
    """The image is its base and one copied folder: no pip, no cache, no compiler, no secret's mount."""
    stages = dockerfile.lineage(name)
    assert [stage.name for stage in stages] == [name, "runtime"]
    copies = [copy.value for stage in stages for copy in stage.all("COPY")]
    assert copies == [f"--from={name}-env /opt/rlway /opt/rlway"]
    for stage in stages:
        for run in stage.all("RUN"):
            assert not re.search(r"\bpip\b|apt-get|--mount", run.value)
        assert not [argument for argument in stage.all("ARG") if argument.value.startswith("PIP_")]


def test_no_address_of_an_index_is_written_down() -> None:
    """Where packages come from is the builder's to say."""
    for path in (ROOT / "Dockerfile", SCRIPT):
        assert "://" not in path.read_text()


# ------------------------------------------------------------------------------------------------ what comes out


@both_images
def test_no_image_runs_as_root(dockerfile: Dockerfile, name: str, pods: dict[str, Manifest]) -> None:
    """A numeric user, the one that Kubernetes is told."""
    context = pods["server"]["securityContext"]
    assert dockerfile.stage(name).last("USER").value == f"{context['runAsUser']}:{context['runAsGroup']}"
    after = dockerfile.stage(name).instructions
    last_user = max(index for index, instruction in enumerate(after) if instruction.name == "USER")
    assert not [i for i in after[last_user:] if i.name in {"RUN", "COPY"}]


def test_the_image_starts_the_server_that_kubernetes_starts(dockerfile: Dockerfile, server: Manifest) -> None:
    """Without arguments, it serves /models on the exposed port, by options that the command has."""
    stage = dockerfile.stage("serve")
    words = stage.last("CMD").words()
    assert stage.last("ENTRYPOINT").words() == ["rlway"]
    assert words == server["args"][: len(words)]
    assert words[words.index("--port") + 1] == stage.last("EXPOSE").value
    for option in [word for word in words if word.startswith("--")]:
        assert option.removeprefix("--") in inspect.signature(serve).parameters


def test_a_stop_is_a_signal_that_the_command_hears(dockerfile: Dockerfile) -> None:
    """The server drains on SIGTERM, the default; training, as process 1, hears only SIGINT."""
    assert not [stop for stage in dockerfile.lineage("serve") for stop in stage.all("STOPSIGNAL")]
    assert dockerfile.stage("train").last("STOPSIGNAL").value == "SIGINT"


@both_images
def test_nothing_reports_home(dockerfile: Dockerfile, name: str) -> None:
    """onnxruntime's telemetry, on by default since 1.29, is off before anything can import it."""
    variables = [env.value for stage in dockerfile.lineage(name) for env in stage.all("ENV")]
    assert "ORT_DISABLE_TELEMETRY=1" in variables


@both_images
def test_the_image_says_what_it_is(dockerfile: Dockerfile, name: str) -> None:
    """Title, version and revision, as the Open Container Initiative spells them."""
    labels = " ".join(label.value for stage in dockerfile.lineage(name) for label in stage.all("LABEL"))
    assert f'org.opencontainers.image.title="rlway-{name}"' in labels
    for label in ("description", "licenses", "revision", "version"):
        assert f"org.opencontainers.image.{label}=" in labels


@pytest.mark.parametrize(
    ("status", "healthy"), [("200 OK", True), ("503 Service Unavailable", False), ("500 Internal Server Error", False)]
)
def test_the_health_check_believes_only_200(dockerfile: Dockerfile, status: str, healthy: bool) -> None:
    """The very program that the image runs, against a server that answers so."""
    with _answering(status) as (port, requests):
        assert (_health_check(dockerfile, port) == 0) is healthy
    assert requests[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
    assert requests[0].endswith(b"\r\n\r\n")


def test_a_server_that_is_not_there_is_not_healthy(dockerfile: Dockerfile) -> None:
    """A refused connection is a failure."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert _health_check(dockerfile, port) != 0


# ------------------------------------------------------------------------------------------------ how to look things up


def _sources(dockerfile: Dockerfile) -> set[str]:
    copies = [copy.value for stage in dockerfile.stages for copy in stage.all("COPY")]
    return {source for copy in copies if not copy.startswith("--from=") for source in copy.split()[:-1]}


def _ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: its last line that fits the path or a folder above it decides."""
    ignored = False
    parts = path.split("/")
    candidates = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            for candidate in candidates:
                # `*` stops at a slash; `**/` is any number of folders, or none.
                name = candidate.rsplit("/", 1)[-1] if pattern.startswith("**/") else candidate
                wanted = pattern.removeprefix("**/")
                if fnmatch(name, wanted) and name.count("/") == wanted.count("/"):
                    ignored = not line.startswith("!")
    return ignored


def _locked(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "locks" / lock).read_text(), flags=re.MULTILINE))


def _closure(package: str) -> set[str]:
    needs = [Requirement(text) for text in requires(package) or []]
    here = [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return {package}.union(*(_closure(name) for name in here))


def _health_check(dockerfile: Dockerfile, port: int) -> int:
    program, *arguments = dockerfile.stage("serve").last("HEALTHCHECK").words()
    assert program == "python3"
    assert "('127.0.0.1', 8080)" in arguments[-1]
    arguments[-1] = arguments[-1].replace("8080", str(port))
    return subprocess.run([sys.executable, *arguments], stderr=subprocess.DEVNULL, timeout=120).returncode


@contextmanager
def _answering(status: str) -> Iterator[tuple[int, list[bytes]]]:
    """A server for one request, which it keeps."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(4096))
                connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1], requests
        thread.join(timeout=120)
