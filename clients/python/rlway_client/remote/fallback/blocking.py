"""A fallback for a program that waits for each action.

In:      an observation, and when it was taken.
Out:     a reply, by the deadline.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rlway_client.contract.errors import RlwayError, UsageError
from rlway_client.remote.fallback.arbiter import LOOK_AGAIN_S, Fallback
from rlway_client.remote.fallback.prober import Asker
from rlway_client.remote.messages import Reply


class BlockingFallback(Fallback[Asker]):
    """Asks over the connection that the prober opened. It is closed at the first failure."""

    def wait_for_server(self, timeout_s: float) -> None:
        """Waits until the server answers: before the first action, where a program wants to be sure of it.

        Raises UsageError if it serves another policy than the local one, ServerUnreachable after `timeout_s`.
        """
        until_s = time.monotonic() + timeout_s
        while not self.answers():
            if time.monotonic() >= until_s:
                raise self.no_server(timeout_s)
            time.sleep(min(LOOK_AGAIN_S, timeout_s))

    def ask(self, observation: Any, options: Mapping[str, Any], taken_s: float | None) -> Reply:
        """The server's reply, or the local one."""
        self.collect()
        left_s = self.remaining_s(taken_s)
        if self.client is None:
            return self.settle(observation, options, None)
        client, asked_s = self.client, time.monotonic()
        client.timeout_s = left_s
        outcome: Reply | RlwayError | None = None
        try:
            if left_s > 0:
                outcome = client.ask(observation, **self.limited(options))
            else:
                self.overdue()
        except UsageError:  # of the caller: an option that does not exist
            raise
        except RlwayError as error:
            outcome = error
        except BaseException:  # such as Ctrl-C
            self.abandoned(observation, options)
            self.drop(client)
            raise
        try:
            return self.settle(observation, options, outcome, late=time.monotonic() - asked_s >= left_s)
        finally:
            self.drop(client)

    def adopt(self, client: Asker) -> Asker:
        return client

    def release(self, client: Asker) -> None:
        client.close()
