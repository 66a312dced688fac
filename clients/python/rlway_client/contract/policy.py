"""What every policy offers to a loop over an environment, wherever its model runs.

In:      one observation, as the environment gives it.
Out:     one action.
Refuses: what the implementation refuses: SpecViolated where the observation does not fit, for one.

`PolicyClient` asks a server, and `EdgePolicy` runs the model in this process. `AsyncPolicyClient` asks a server as
well, and its `act` gives an awaitable of the action.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

Given_co = TypeVar("Given_co", covariant=True)  # an action, or an awaitable of one


class PolicyLike(Protocol[Given_co]):
    """A policy that acts. `PolicyLike[Any]` gives its action, `PolicyLike[Awaitable[Any]]` is to be awaited."""

    def act(self, observation: Any, /) -> Given_co:
        """The action for one observation: an int (one discrete number), an array, or a dict or tuple of these."""

    def reset(self) -> None:
        """Begins an episode with the next action; a policy without state has nothing to do."""
