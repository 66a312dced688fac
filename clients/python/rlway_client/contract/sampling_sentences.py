"""How a policy chooses its actions, in sentences for people.

In:      a manifest.
Out:     sentences about its draws, about what a server does by default, and about what the export compared; what the
         policy reads of the time step. None for a policy that is greedy, or that has its noise from `rlway train`.
"""

from __future__ import annotations

from rlway_client.contract.exploration import Explore
from rlway_client.contract.manifest import Manifest, Sampling

MEANINGS = {"normal": "standard normal", "gumbel": "Gumbel"}


def sampling_sentences(manifest: Manifest) -> list[str]:
    """What a reader should know of this policy's actions."""
    found = []
    if len(manifest.draws) > 1:
        draws = ", then ".join(f"{draw.size} {MEANINGS[draw.distribution]} numbers" for draw in manifest.draws)
        found.append(f"noise holds {draws}; zeros give the greedy action.")
    if manifest.explore is not None:
        found.append(f"Where a request does not say, actions are drawn with {options_of(manifest.explore)}.")
    elif manifest.sampling is not None:
        found.append("Where a request does not say, the action is the greedy one.")
    if manifest.sampling is not None:
        found += _sampling(manifest.sampling)
    if manifest.time_step:
        names = ", ".join(spec.name for spec in manifest.time_step)
        found.append(f"The policy also reads {names} of the time step; a request may give them as time_step.")
    return found


def options_of(explore: Explore) -> str:
    """The options in words: `temperature 1 and sigma 1`."""
    given = {name: getattr(explore, name) for name in ("epsilon", "temperature", "sigma")}
    return " and ".join(f"{name} {value:g}" for name, value in given.items() if value is not None)


def _sampling(sampling: Sampling) -> list[str]:
    if sampling.kind == "epsilon-greedy":
        epsilon = "" if sampling.epsilon is None else f" {sampling.epsilon:g}"
        found = [f"The source acted ε-greedily{epsilon}; its files hold the greedy policy."]
    else:
        found = ["The source drew its actions from its distribution."]
    if sampling.tests and sampling.p_value is not None and sampling.level is not None:
        found.append(
            f"Its own actions were compared with the files' over {sampling.rows:,} draws for each of "
            f"{sampling.observations:,} observations: the smallest p-value of {sampling.tests:,} tests is "
            f"{sampling.p_value:.2g} (below {sampling.level:.2g} nothing is published)."
        )
    return found
