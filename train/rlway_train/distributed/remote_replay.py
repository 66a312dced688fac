"""The replay of a learner whose rows come from actors, on a server that runs elsewhere.

In:      the channel to the server, to which actors write.
Out:     batches.
Refuses: ServerUnreachable once the server no longer answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from rlway_client.contract.errors import ServerUnreachable
from rlway_train.common.deadline import watched
from rlway_train.distributed.channel import Channel
from rlway_train.replay.base import Replay
from rlway_train.replay.reverb import ReverbRows


class RemoteReplay(ReverbRows, Replay):
    """The rows on the server of a channel. The server saves them itself and outlives this process."""

    def __init__(self, channel: Channel, width: int) -> None:
        super().__init__(channel.address, width, channel.patience_s)
        self._channel = channel

    @property
    def _limiter_timeout_ms(self) -> int:
        return -1  # wait without limit: actors may be away for any time

    def guard(self, call: Callable[[], Any]) -> Any:
        try:
            return watched(call, self._channel.reach)
        except (tf.errors.UnavailableError, tf.errors.CancelledError, tf.errors.NotFoundError) as error:
            raise ServerUnreachable(
                f"replay at {self.address}: gave no rows: {error.message.splitlines()[0]}; --resume goes on from the "
                f"last checkpoint."
            ) from error

    def save(self, folder: Path) -> None:
        pass

    def restore(self, folder: Path) -> None:
        pass

    def close(self) -> None:
        pass
