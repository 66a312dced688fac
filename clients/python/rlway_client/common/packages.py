"""What to say where a package is not installed.

In:      what needs it, its name, what brings it.
Out:     a sentence whose advice is right for pip, for uv, and in the environments of `make setup`.

Those have no pip, and each has what its own commands need: both run TFLite and ONNX files and play in gymnasium, and
PyBullet and TF-Agents are in `.venv-train`.
"""

from __future__ import annotations

SERVING, TRAINING, BOTH = ".venv", ".venv-train", ".venv or .venv-train"


def missing(purpose: str, package: str, requirement: str, environment: str = BOTH) -> str:
    """`requirement` is what to install, `environment` the one of `make setup` that has it."""
    return (
        f"{purpose} needs {package}, which is not installed here; install '{requirement}' with pip or uv, or use rlway "
        f"of {environment}, which make setup makes."
    )
