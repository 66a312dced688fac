"""RLway's lightest package: the contract that all stages share, and what talks to a policy server.

In:      observations, and the address of a server or the path of a bundle.
Out:     actions.
"""

from rlway_client.aio import AsyncPolicyClient
from rlway_client.bundle import Bundle
from rlway_client.client import PolicyClient
from rlway_client.edge import EdgePolicy
from rlway_client.errors import RlwayError
from rlway_client.exploration import Explore
from rlway_client.manifest import Manifest
from rlway_client.reply import Reply
from rlway_client.specs import TensorSpec

__all__ = [
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
