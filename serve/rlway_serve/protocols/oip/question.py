"""One request of the Open Inference Protocol, whether it came over REST or gRPC.

In:      tensors by name, options, the names of the outputs that are asked for.
Out:     a `Call` with this question as its reply.
Refuses: what `codec/tensors.py` refuses; a step of a recurrent policy without a `sequence_id` (SpecViolated).

A subclass writes the answers. With `sequence_end` the episode ends once its last step has been answered; a step that is
refused may be sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from rlway_client.contract.errors import RlwayError, SpecViolated
from rlway_client.contract.guard import Violations
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import AnyArray, Fault
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.episodes import Episodes
from rlway_serve.messages.call import Call, Receiver
from rlway_serve.messages.response import Response
from rlway_serve.protocols.oip.parameters import Options
from rlway_serve.registry.loaded_version import LoadedVersion


class OipQuestion:
    """A request that can be read against any version of a policy."""

    def __init__(
        self,
        endpoint: Endpoint,
        version: int | None,
        options: Options,
        tensors: Mapping[str, AnyArray],
        outputs: Sequence[str] = (),
    ) -> None:
        self.pin = options.pin(version)
        self._endpoint = endpoint
        self._options = options
        self._tensors = tensors
        self._outputs = outputs
        self.answered_by: LoadedVersion | None = None

    def read(self, version: LoadedVersion, caller: Receiver) -> Call:
        """The request as a call of this version. Raises RlwayError."""
        options = self._options
        call = version.tensors.read(
            self._tensors,
            caller,
            explore=options.explore,
            seed=options.seed,
            outputs=self._outputs,
            deadline_ms=options.deadline_ms,
            in_episode=options.episode is not None,
        )
        if version.manifest.state and options.episode is None and call.given_state is None and not call.begins:
            expected = "an id, with `sequence_start`: true where it begins: this policy has a state"
            raise SpecViolated([Fault("parameters.sequence_id", expected, "none")])
        if options.ends and options.episode is not None:
            call.on_action = partial(_end_episode, self._endpoint.episodes, version.manifest.policy, options.episode)
        call.reply = self
        self.answered_by = version
        return call

    def names(self, results: Arrays) -> Sequence[str]:
        """The outputs of the answer, in order: those asked for, or all that this request computes."""
        return self._outputs or tuple(results)

    def write(self, results: Arrays, violated: Violations) -> Response:
        raise NotImplementedError

    def refuse(self, error: RlwayError) -> Response:
        raise NotImplementedError


def _end_episode(episodes: Episodes, policy: str, episode: str, call: Call) -> None:
    episodes.end(policy, episode, call.state)
