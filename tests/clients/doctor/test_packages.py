"""What the doctor says of packages and runtimes: real metadata in a folder, real imports in a process of their own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from rlway_client.common.installations import this_installation
from rlway_client.doctor import runtimes, versions


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages come before the environment's own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(site: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
    """A package without code, as pip leaves it."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")


def test_this_environment_fits_together() -> None:
    """All that RLway's packages require here is installed in a version that they take."""
    here = this_installation().packages
    assert "rlway-client" in here
    assert {name: versions.unmet_requirements(name) for name in here} == {name: [] for name in here}
    assert [one.subject for one in versions.rlway_packages() if not one.ok] == []


def test_packages_of_two_versions_are_wrong(site: Path) -> None:
    install(site, "rlway-client", "9.9.9")
    found = next(iter(versions.rlway_packages()))
    assert "client 9.9.9" in found.state
    assert found.remedy.startswith("bring them to one version: pip install --upgrade rlway-client")


def test_a_requirement_that_is_not_met_is_named(site: Path) -> None:
    """One that is missing, one of another version; neither an extra's nor another system's."""
    requires = (
        "no-such-package>=1",
        "numpy<1",
        "msgspec>=0.19",
        "no-extra; extra == 'more'",
        "no-windows; sys_platform == 'win32'",
    )
    install(site, "rlway-client", this_installation().packages["rlway-client"], requires)
    assert versions.unmet_requirements("rlway-client") == ["no-such-package>=1", "numpy<1"]
    (found,) = (one for one in versions.rlway_packages() if one.subject == "rlway-client")
    assert found.remedy == "pip install 'no-such-package>=1' 'numpy<1'"


def test_onnxruntime_is_told_with_its_providers() -> None:
    found = runtimes.onnxruntime()
    assert found.ok
    assert "CPUExecutionProvider" in found.facts["providers"]


def test_onnxruntime_installed_twice_is_wrong(site: Path) -> None:
    """Both packages write into one folder."""
    install(site, "onnxruntime-gpu", "1.20.0")
    assert "installed twice" in runtimes.onnxruntime().state
    assert "pip uninstall onnxruntime onnxruntime-gpu" in runtimes.onnxruntime().remedy


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (f"import os; os.kill(os.getpid(), {int(signal.SIGILL)})", "it ended with SIGILL"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_a_runtime_that_crashes_does_not_end_the_doctor(program: str, says: str) -> None:
    """As a library built for another processor does."""
    assert runtimes.import_in_child(program) == (says, "")


def test_gpus_are_those_that_nvidia_smi_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it fails although the driver is there, something is wrong; without a driver there is just no GPU."""
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(runtimes, "NVIDIA", tmp_path / "gpus")
    assert runtimes.gpus().state.startswith("none visible")
    tool.write_text("#!/bin/sh\necho 'Example 100, 80000 MiB, 550.1'\n")
    tool.chmod(0o755)
    assert runtimes.gpus().facts["gpus"] == ["Example 100, 80000 MiB, 550.1"]
    tool.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
    assert runtimes.gpus().ok
    (tmp_path / "gpus/0").mkdir(parents=True)
    found = runtimes.gpus()
    assert "Driver/library version mismatch" in found.state
    assert not found.ok
