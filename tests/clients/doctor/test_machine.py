"""What the doctor reads of the machine: files as Linux writes them, and the limits of this process."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from rlway_client.doctor import machine
from rlway_client.doctor.finding import found_by
from rlway_serve.settings import Settings
from rlway_serve.system.open_files import OTHER_FILES

X86 = "processor\t: 0\nmodel name\t: Example 9\nflags\t\t: fpu avx avx2 fma\n\nprocessor\t: 1\nmodel name\t: Other\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "name", "sets"),
    [(X86, "Example 9", ["avx", "avx2", "fma"]), (ARM, None, ["asimd", "sve"]), ("", None, [])],
)
def test_a_processor_is_told_by_its_name_and_its_sets(
    tmp_path: Path, text: str, name: str | None, sets: list[str]
) -> None:
    """The first core's, on x86 and on ARM."""
    (tmp_path / "cpuinfo").write_text(text)
    facts = machine.processor(tmp_path / "cpuinfo").facts
    assert facts["instruction_sets"] == sets
    assert name is None or facts["name"] == name


@pytest.mark.parametrize(
    ("files", "own", "limits"),
    [
        ({"cpu.max": "max 100000", "memory.max": "max"}, "0::/\n", (None, None)),
        ({"a/b/cpu.max": "50000 100000", "a/memory.max": "1048576"}, "0::/a/b\n", (0.5, 1048576)),
        ({"a/cpu.max": "150000 100000", "a/b/cpu.max": "200000 100000"}, "0::/a/b\n", (1.5, None)),  # the narrowest
        (
            {
                "cpu/x/cpu.cfs_quota_us": "200000",
                "cpu/x/cpu.cfs_period_us": "100000",
                "memory/x/memory.limit_in_bytes": "4096",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            "4:memory:/x\n3:cpu:/x\n",
            (2.0, 4096),
        ),
        ({"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, "3:cpu:/x\n", (None, None)),
        ({}, "", (None, None)),
    ],
    ids=["none", "of two groups", "the narrowest", "version 1", "version 1 without", "no groups"],
)
def test_the_limits_of_a_control_group_are_those_of_all_groups_above(
    tmp_path: Path, files: dict[str, str], own: str, limits: tuple[float | None, int | None]
) -> None:
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(f"{text}\n")
    (tmp_path / "own").write_text(own)
    assert machine.group_limits(tmp_path / "groups", tmp_path / "own") == limits


def test_too_few_open_files_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own defaults say how many it wants."""
    assert Settings(models=Path("models")).max_connections + OTHER_FILES == machine.SERVER_FILES
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    found = machine.open_files()
    assert "--max-connections 768" in found.remedy
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, machine.SERVER_FILES))
    assert machine.open_files().ok


def test_a_check_that_fails_is_a_line_of_the_report(tmp_path: Path) -> None:
    """As on a system without /proc."""
    (found,) = found_by("machine", "processor", lambda: machine.processor(tmp_path / "missing"))
    assert found.ok
    assert found.state.startswith("not known: ")


def test_this_machine_has_cores_and_memory() -> None:
    assert 1 <= machine.cores().facts["allowed"] <= machine.cores().facts["present"]
    assert 0 < machine.memory().facts["available_bytes"] <= machine.memory().facts["total_bytes"]
