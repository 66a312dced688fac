"""The sentence that says which package is missing, and where to get it.

In:      what needs the package, its name, what to install.
Out:     a sentence whose advice is right for pip, for uv, and in the environments of `make setup`.

Those environments have no pip, and each has what its own commands need. Both run TFLite and ONNX files and gymnasium's
environments; only `.venv-train` has PyBullet and TF-Agents.
"""

from __future__ import annotations

SERVING, TRAINING, BOTH = ".venv", ".venv-train", ".venv or .venv-train"


def missing(purpose: str, package: str, requirement: str, environment: str = BOTH) -> str:
    """`requirement` is what to install; `environment` is the environment of `make setup` that has it."""
    return (
        f"{purpose} needs {package}, which is not installed here; install '{requirement}' with pip or uv, or use rlway "
        f"of {environment}, which make setup makes."
    )
