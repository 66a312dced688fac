"""What an export shall be, held against itself before anything is opened.

In:      a policy's name, the formats, what shall be played.
Out:     the targets.
Refuses: UsageError for a name or a format that there is not, and for a time limit of no episodes.
"""

from __future__ import annotations

from rlway_client.contract.errors import UsageError
from rlway_client.contract.manifest import check_policy_name
from rlway_export.formats.registry import Target, parse_formats


def check_wish(policy: str, formats: str, evaluate: int, env: str | None, time_limit: int | None) -> list[Target]:
    """The formats as targets, if all of it makes sense."""
    check_policy_name(policy)
    targets = parse_formats(formats)
    if time_limit is not None and not evaluate and env is None:
        raise UsageError("--time-limit: ends the episodes of --evaluate and those in --env; add one, or leave it out.")
    return targets
