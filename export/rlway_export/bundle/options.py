"""The options of an export, checked against each other before anything is opened.

In:      sources and their names, the formats, what to play.
Out:     a name for each source; the formats as `Format`s.
Refuses: UsageError for a name that cannot be one, an unknown format, a time limit without episodes, options that are
         for one source or for several.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rlway_client.contract.errors import UsageError
from rlway_client.contract.manifest import check_policy_name
from rlway_export.formats.registry import Format, parse_formats

Actions = Literal["greedy", "sampled"]  # what a server does where a request does not say


def check_sources(sources: Sequence[Path], policy: str | None, jobs: int, watch: bool) -> list[str]:
    """The name of each policy: the given one, or those of the files and folders."""
    if len(sources) == 1:
        if policy is None:
            raise UsageError("--policy: expected the name under which the policy will be served; give one.")
        if jobs != 1:
            raise UsageError("--jobs: exports several sources at a time, and there is one; leave it out.")
        return [policy]
    if watch:
        raise UsageError("--watch: follows one source, and there are several; give one.")
    if policy is not None:
        raise UsageError("--policy: names one policy, and there are several sources; leave it out.")
    names = [source.stem if source.is_file() else source.absolute().name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        both = " and ".join(str(source) for source, name in zip(sources, names, strict=True) if name == twice)
        raise UsageError(f"{both[:200]}: would both be published as {twice[:60]}; export one of them with --policy.")
    return names


def check_options(policy: str, formats: str, evaluate: int, env: str | None, time_limit: int | None) -> list[Format]:
    """The formats, if all options make sense together."""
    check_policy_name(policy)
    chosen = parse_formats(formats)
    if time_limit is not None and not evaluate and env is None:
        raise UsageError("--time-limit: ends the episodes of --evaluate and those in --env; add one, or leave it out.")
    return chosen
