"""Whether a server could listen on a port; if not, who does, and what it serves.

In:      a host, a port; the API key of the server that may be there.
Out:     a finding: free, taken by an RLway server that is well, or taken by something else.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from rlway_client.common.quote import clipped, named
from rlway_client.doctor.asked_server import Asked, ask_server
from rlway_client.doctor.finding import Finding
from rlway_client.doctor.port_holder import Holder, holder_of

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to ask what listens on all addresses


def port(host: str, number: int, key: str | None = None) -> Finding:
    """Tries to take the port as a server would; asks what holds it, if something does."""
    subject = str(number)
    facts: dict[str, Any] = {"host": host, "port": number, "free": False, "holder": None, "server": None}
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        remedy = "give an address of this machine with --host"
        return Finding("ports", subject, f"{host} is no address: {error.strerror}", remedy, facts)
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return _taken(subject, host, number, key, facts)
            remedy = "choose a port above 1023" if error.errno == errno.EACCES else "give this machine's with --host"
            return Finding("ports", subject, f"cannot be bound on {host}: {error.strerror}", remedy, facts)
    return Finding("ports", subject, "free", facts=facts | {"free": True})


def _taken(subject: str, host: str, number: int, key: str | None, facts: dict[str, Any]) -> Finding:
    holder = holder_of(number)
    asked = ask_server(ANYWHERE.get(host, host), number, key)
    facts |= {"holder": holder and holder._asdict(), "server": asked and asked._asdict()}
    by = f" (process {holder.pid})" if holder else ""
    if asked is not None:
        state, remedy = _of_server(asked)
        return Finding("ports", subject, f"an RLway server{by}: {state}", remedy, facts)
    if holder and holder.is_rlway_server:
        return Finding("ports", subject, f"an RLway server{by}, which does not speak plain HTTP here", facts=facts)
    return Finding("ports", subject, f"taken by {_who(holder)}", _free_it(holder, number), facts)


def _of_server(asked: Asked) -> tuple[str, str]:
    if asked.ready:
        serves = f"serves {named(asked.policies)}" if asked.policies else "asks for a key before it says what it serves"
        return f"ready, {serves}", ""
    remedy = "its log says what it waits for; `rlway doctor MODELS`, with its folder, says what is wrong with versions"
    return "not ready" + (f", knows {named(asked.policies)}" if asked.policies else ""), remedy


def _who(holder: Holder | None) -> str:
    if holder is None:
        return "a process that this user cannot see" if os.name == "posix" else "another process"
    return f"process {holder.pid}, {clipped(holder.command)}"


def _free_it(holder: Holder | None, number: int) -> str:
    other = f"give another port to `rlway serve`: --port {number + 1}, or 0 for any free one"
    return f"{other}; or stop it (kill {holder.pid})" if holder else other
