"""RLway's lightest package: the contract that all stages share, the clients of a server, and the policy on a robot.

In:      observations; the URL of a policy server, or the path of a bundle.
Out:     actions.

Each name is imported when it is first used: a robot that acts by itself does not pay for the clients of a server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlway_client.contract.bundle import Bundle
    from rlway_client.contract.errors import RlwayError
    from rlway_client.contract.exploration import Explore
    from rlway_client.contract.manifest import Manifest
    from rlway_client.contract.specs import TensorSpec
    from rlway_client.control.actor import Actor
    from rlway_client.local.edge import EdgePolicy
    from rlway_client.remote.aio import AsyncPolicyClient
    from rlway_client.remote.client import PolicyClient
    from rlway_client.remote.messages import Reply

_MODULES = {
    "Actor": "control.actor",
    "AsyncPolicyClient": "remote.aio",
    "Bundle": "contract.bundle",
    "EdgePolicy": "local.edge",
    "Explore": "contract.exploration",
    "Manifest": "contract.manifest",
    "PolicyClient": "remote.client",
    "Reply": "remote.messages",
    "RlwayError": "contract.errors",
    "TensorSpec": "contract.specs",
}
__all__ = [
    "Actor",
    "AsyncPolicyClient",
    "Bundle",
    "EdgePolicy",
    "Explore",
    "Manifest",
    "PolicyClient",
    "Reply",
    "RlwayError",
    "TensorSpec",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
