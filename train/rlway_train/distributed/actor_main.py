"""The process of an actor that `rlway train … --actors N` started.

In:      the replay's address, the environment, the actor's number; a standard input that ends when the parent does.
Out:     an exit status; if the actor failed, one sentence on stderr.
"""

from __future__ import annotations

import os
import sys
import threading

from rlway_client.common.garbage import patient_collector
from rlway_client.contract.errors import RlwayError
from rlway_train.common.quiet import mute_native_stderr, quiet_libraries


def main() -> None:
    address, env, number = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    quiet_libraries()
    mute_native_stderr()
    with patient_collector():
        from rlway_train.distributed.actor import Actor
        from rlway_train.distributed.channel import Channel

    status = 0
    try:
        Actor(Channel(address), int(number), env, note=lambda _: None).run()
    except RlwayError as error:
        print(f"rlway: {error}", file=sys.stderr, flush=True)
        status = error.exit_code
    # A normal exit would wait for threads that still wait for the server.
    os._exit(status)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
