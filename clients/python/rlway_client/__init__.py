"""RLway's lightest package: the contract that all stages share, the clients of a server, and the policy on a robot.

In:      observations; the URL of a policy server, or the path of a bundle.
Out:     actions.
"""

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
