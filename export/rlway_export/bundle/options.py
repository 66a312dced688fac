"""The options of an export, checked against each other before anything is opened.

In:      a policy's name, the formats, what to play.
Out:     the formats as `Format`s.
Refuses: UsageError for a name that cannot be one, an unknown format, and a time limit without episodes.
"""

from __future__ import annotations

from rlway_client.contract.errors import UsageError
from rlway_client.contract.manifest import check_policy_name
from rlway_export.formats.registry import Format, parse_formats


def check_options(policy: str, formats: str, evaluate: int, env: str | None, time_limit: int | None) -> list[Format]:
    """The formats, if all options make sense together."""
    check_policy_name(policy)
    chosen = parse_formats(formats)
    if time_limit is not None and not evaluate and env is None:
        raise UsageError("--time-limit: ends the episodes of --evaluate and those in --env; add one, or leave it out.")
    return chosen
