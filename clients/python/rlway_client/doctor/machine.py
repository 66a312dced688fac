"""What the machine allows this process: processor, cores, memory, open files.

In:      /proc and the control group, as Linux has them.
Out:     findings; those that another system does not tell are not known.
"""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

from rlway_client.doctor.finding import Finding
from rlway_client.doctor.versions import installed

# What makes a difference to onnxruntime, LiteRT and TensorFlow, in the words of /proc/cpuinfo.
SETS = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "sve")
GIB = 2**30
SERVER_FILES = 4096 + 256  # what a server asks for by default: its connections, and files besides

CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def processor(cpuinfo: Path = CPUINFO) -> Finding:
    """Its name and its instruction sets."""
    # Reversed, so that the first core's are kept.
    lines = (line.partition(":") for line in reversed(cpuinfo.read_text().splitlines()))
    fields = {name.strip(): value.strip() for name, _, value in lines}
    words = (fields.get("flags") or fields.get("Features") or "").split()
    sets = [name for name in SETS if name in words]
    name = fields.get("model name") or platform.machine()
    remedy = ""
    if installed("tensorflow") and platform.machine() == "x86_64" and "avx" not in sets:
        remedy = "TensorFlow needs AVX; train on another machine, or give this virtual one its host's processor"
    facts = {"name": name, "instruction_sets": sets, "architecture": platform.machine()}
    return Finding("machine", "processor", f"{name}: {' '.join(sets) or 'no known instruction sets'}", remedy, facts)


def cores() -> Finding:
    """How many there are, and how many this process may use."""
    there, allowed = os.cpu_count() or 1, len(os.sched_getaffinity(0))
    quota, _ = group_limits()
    facts = {"present": there, "allowed": allowed, "cgroup": quota}
    state = f"{there}" if allowed == there else f"{allowed} of {there}"
    state += f"; the control group allows the time of {quota:g}" if quota is not None else "; no limit of time"
    return Finding("machine", "cores", state, facts=facts)


def memory(meminfo: Path = MEMINFO) -> Finding:
    """How much there is, and how much this process may use."""
    fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in meminfo.read_text().splitlines()}
    total, free = fields["MemTotal"], fields["MemAvailable"]
    _, limit = group_limits()
    facts = {"total_bytes": total, "available_bytes": free, "cgroup_bytes": limit}
    state = f"{free / GIB:.1f} of {total / GIB:.1f} GiB available"
    state += f"; the control group allows {limit / GIB:.1f}" if limit is not None else "; no further limit"
    return Finding("machine", "memory", state, facts=facts)


def open_files() -> Finding:
    """The limit, which a server raises as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    facts = {"soft": _finite(soft), "hard": _finite(hard)}
    state = f"{_shown(soft)}, which a server can raise to {_shown(hard)}"
    if hard != resource.RLIM_INFINITY and hard < SERVER_FILES:
        remedy = (
            f"a server wants {SERVER_FILES} for 4096 connections: raise nofile in limits.conf, LimitNOFILE of the "
            f"service or --ulimit of the container; or serve with --max-connections {max(1, hard - 256)}"
        )
        return Finding("machine", "open files", state, remedy, facts)
    return Finding("machine", "open files", state, facts=facts)


def group_limits(root: Path = GROUPS, own: Path = OWN_GROUP) -> tuple[float | None, int | None]:
    """The cores whose time the control group allows, and its bytes; None without a limit."""
    quotas, limits = [], []
    for folder in _groups(root, own):
        quota = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
        if len(quota) == 2 and quota[0].isdigit():
            quotas.append(int(quota[0]) / int(quota[1]))
        limit = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        if limit and limit[0].isdigit() and int(limit[0]) < 2**60:  # version 1 writes a huge number for none
            limits.append(int(limit[0]))
    return min(quotas, default=None), min(limits, default=None)


def _groups(root: Path, own: Path) -> list[Path]:
    """The folders of this process's control group and of those above it; of version 1, those of each controller."""
    found = []
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        base = root / controllers if controllers else root
        place = base / path.lstrip("/")
        found += [folder for folder in (place, *place.parents) if folder == base or base in folder.parents]
    return list(dict.fromkeys(found))


def _words(*files: Path) -> list[str]:
    try:
        return [word for file in files for word in file.read_text().split()]
    except OSError:
        return []


def _finite(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit


def _shown(limit: int) -> str:
    return "any number" if limit == resource.RLIM_INFINITY else f"{limit:,}"
