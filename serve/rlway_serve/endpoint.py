"""The one place where a request for actions enters, whichever lane it came by.

In:      headers that matter, a body, where to reply.
Out:     a `Response`, at once for a refusal, else when the policy has run.
"""

from __future__ import annotations

import logging

from rlway_client.errors import NotReady, RlwayError
from rlway_serve.bodies import BodyBudget
from rlway_serve.call import Reply
from rlway_serve.decoder import read_pin
from rlway_serve.keys import Keys
from rlway_serve.policy import ServedPolicy
from rlway_serve.rates import Rates
from rlway_serve.repository import Repository
from rlway_serve.response import new_internal_error, problem_response

log = logging.getLogger(__name__)


class Endpoint:
    """Refuses or queues a request; never raises."""

    def __init__(self, repository: Repository, keys: Keys, bodies: BodyBudget, rates: Rates | None = None) -> None:
        self.repository = repository
        self.keys = keys
        self.bodies = bodies
        self.rates = rates
        self.draining = False

    @property
    def ready(self) -> bool:
        return self.repository.ready and not self.draining

    def act(
        self, policy: ServedPolicy, media_type: bytes, authorization: bytes | None, body: bytes, reply: Reply
    ) -> None:
        """Calls `reply` once, now or from the event loop later."""
        try:
            key = self.keys.check(authorization)
            if self.rates is not None:
                self.rates.take(key or getattr(reply, "peer", None))
            if self.draining:
                raise NotReady("the server is stopping; ask another.")
            version = policy.acting
            call = version.decoder.decode_plain(media_type, body, reply) if version else None
            if version is None or call is None:
                version = policy.choose(read_pin(media_type, body))
                call = version.decoder.decode(media_type, body, reply)
            version.batcher.submit(call)
        except RlwayError as error:
            policy.metrics.count_refusal(error)
            reply(problem_response(error))
        except Exception:
            internal = new_internal_error()
            log.exception("act on %s failed (request id %s)", policy.name, internal.request_id)
            policy.metrics.count_refusal(internal)
            reply(problem_response(internal))
