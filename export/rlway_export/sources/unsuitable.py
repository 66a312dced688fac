"""The refusal of a path from which nothing can be exported: what it is, and what to give instead.

In:      a path as a user gave it, which is neither a run, nor a trigger's folder, nor a SavedModel.
Out:     RunInvalid: one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from rlway_client.common.suggest import near
from rlway_client.contract.errors import RunInvalid
from rlway_export.sources.base import SAVED_MODEL
from rlway_export.sources.checkpoints import PREFIX, VARIABLES
from rlway_export.sources.kinds import CHECKPOINTS, MANIFEST, POLICIES, graph_of, is_bundle, is_run, is_saved_model

GIVE = "give a run of `rlway train`, a folder of PolicySavedModelTrigger, a SavedModel, an ONNX file or a Keras network"
SAVE = "save the agent's policy with TF-Agents' PolicySaver, and give that"
WEIGHTS = (
    f"holds weights without a graph; give the folder in which their graph lies beside {CHECKPOINTS}/, or the folder of "
    f"checkpoints with --agent module:function, which builds their agent"
)
EVENTS = "events.out.tfevents"
LEVELS = 4  # folders above a path in which its owner is looked for
SHOWN = 3

ARCHIVE = f"is an archive; unpack it, and {GIVE}"
OF_SB3 = f"{ARCHIVE}; if it is of stable-baselines3, export its policy with torch.onnx.export, and give that ONNX file"
PYTORCH = "is of PyTorch; export its policy with torch.onnx.export, and give that ONNX file"
FILES = {
    ".npz": f"is a file of arrays, as --observations takes them; {GIVE}",
    ".tflite": f"is a TFLite file, which an export makes of a policy; {GIVE}",
    ".pb": f"is no {SAVED_MODEL} of a SavedModel; {GIVE}",
    **dict.fromkeys((".pt", ".pth"), PYTORCH),
    **dict.fromkeys((".tar", ".tgz", ".gz"), ARCHIVE),
    ".zip": OF_SB3,
    **dict.fromkeys((".py", ".ipynb"), f"is a program; {GIVE} that it writes"),
    **dict.fromkeys((".index", ".data-00000-of-00001"), WEIGHTS),
}

# What a path may lie in, and how the sentence continues. The first that matches counts.
OWNERS: tuple[tuple[Callable[[Path], object], str], ...] = (
    (is_run, "the run {}; give that"),
    (graph_of, "{}, which PolicySavedModelTrigger wrote; give that"),
    (lambda folder: graph_of(folder / POLICIES), "{}, which a training wrote; give that"),
    (is_saved_model, "the SavedModel {}; give that"),
)


def unsuitable(path: Path) -> RunInvalid:
    """The refusal of a path, whether it exists or not."""
    if path.exists():
        return RunInvalid(f"{path}: {what_it_is(path) or f'holds no policy; {GIVE}'}.")
    if path.is_symlink():
        return RunInvalid(f"{path}: is a link that leads nowhere; {GIVE}.")
    alike = _alike(path)
    remedy = f"did you mean {' or '.join(map(str, alike))}?" if alike else f"{GIVE}."
    return RunInvalid(f"{path}: no such file or folder; {remedy}")


def what_it_is(path: Path) -> str | None:
    """What a file or a folder is, and what to give instead; None for a folder that gives no hint."""
    return _part_of(path) or (_folder(path) if path.is_dir() else _file(path))


def _alike(path: Path) -> list[Path]:
    """Up to two existing paths that differ from this one only in the first name that does not exist."""
    there = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    if there is None:
        return []
    name, *rest = path.absolute().relative_to(there).parts
    found = (there.joinpath(one, *rest) for one in near(name, (entry.name for entry in there.iterdir())))
    return [_shown(one, path) for one in found if one.exists()][:2]


def _part_of(path: Path) -> str | None:
    """The sentence for a path within something that can be exported as a whole."""
    above = list(islice(path.absolute().parents, LEVELS))
    bundle = next(filter(is_bundle, (path, *above)), None)
    if bundle is not None:
        what, graph = "is" if bundle == path else "lies in", _shown(bundle / SAVED_MODEL, path)
        instead = f"give what it was made of, or {graph} to export its greedy actions again"
        return f"{what} a bundle that an export wrote; {instead}"
    for owns, what in OWNERS:
        owner = next(filter(owns, above), None)
        if owner is not None:
            return f"lies in {what.format(_shown(owner, path))}{_checkpoint(path.absolute().relative_to(owner))}"
    return None


def _checkpoint(part: Path) -> str:
    """How to choose the checkpoint that the path leads to, or any checkpoint."""
    number = re.search(rf"{PREFIX}0*(\d+)", str(part))
    if number is not None:
        return f" with --checkpoint {number[1]}"
    return " with --checkpoint latest or a number" if part.name == CHECKPOINTS else ""


def _file(path: Path) -> str:
    if path.name.startswith(EVENTS):
        return f"is TensorBoard's; {GIVE}"
    return FILES.get(path.suffix.lower(), f"is a file, and no {SAVED_MODEL}; {GIVE}")


def _folder(path: Path) -> str | None:
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return f"is an empty folder; {GIVE}"
    if any(chain(path.glob(f"*/{MANIFEST}"), path.glob(f"*/*/{MANIFEST}"))):
        return f"holds bundles that exports wrote; {GIVE}"
    inside = [str(_shown(one, path)) for one in islice(_sources_in(path), SHOWN + 1)]
    if inside:
        more = ", …" if len(inside) > SHOWN else ""
        return f"holds no policy itself; give one that lies in it: {', '.join(inside[:SHOWN])}{more}"
    if any(name.startswith(PREFIX) or name in (VARIABLES, "checkpoint") or name.endswith(".index") for name in names):
        return WEIGHTS
    if any(chain(path.glob(f"{EVENTS}*"), path.glob(f"*/{EVENTS}*"))):
        return f"holds TensorBoard's events; {GIVE}"
    return None


def _sources_in(folder: Path) -> Iterator[Path]:
    """What could be given instead, up to two levels down."""
    for one in _folders(folder):
        if any(owns(one) for owns, _ in OWNERS):
            yield one
        else:
            yield from (two for two in _folders(one) if any(owns(two) for owns, _ in OWNERS))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError:  # an unreadable folder is not proposed
        return []


def _shown(path: Path, like: Path) -> Path:
    """Relative where the user's own path is relative."""
    here = Path.cwd()
    return path.absolute().relative_to(here) if not like.is_absolute() and path.is_relative_to(here) else path
