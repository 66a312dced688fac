"""The commands that use a bundle, for its model card.

In:      the manifest.
Out:     shell commands that work with this policy and these files, each with a comment.

The bundle lies in `models/`. Where its environment is code, the commands name it, because a user has to as well.
"""

from __future__ import annotations

import shlex

from rlway_client.contract.exploration import sampling_explore
from rlway_client.contract.manifest import Manifest
from rlway_client.contract.model_files import LITE_FILES, lite_file, served_file
from rlway_client.envs.consent import is_code

EPISODES = "--episodes 5"
RATE = "--rate-hz 50 --duration-s 1"  # for a policy without a known environment


def usage(manifest: Manifest) -> str:
    """One command a line, with its comment."""
    commands = _commands(manifest)
    width = max(len(command) for command, _ in commands)
    return "\n".join(f"{command:<{width}}    # {comment}" for command, comment in commands)


def _commands(manifest: Manifest) -> list[tuple[str, str]]:
    files = [row.file for row in manifest.parity]
    bundle, env, needs = f"models/{manifest.policy}/{manifest.version}", _environment(manifest), _needs(manifest)
    commands = []
    if served_file(files) is not None:
        commands.append(("rlway serve models", "acts over HTTP"))
        if env is not None:
            play = f"rlway play --policy {manifest.policy} {EPISODES}{env}"
            commands.append((play, f"plays with actions from that server{needs}"))
            commands += [(play + option, does) for option, does in _other_actions(manifest)]
    lite = lite_file(files)
    if lite is not None:
        file_option = "" if lite == LITE_FILES[0] else f" --file {lite}"
        how = RATE if env is None else EPISODES + env
        does = "acts at a robot's pace, in process" if env is None else f"plays in process{needs}"
        commands.append((f"rlway edge {bundle} {how}{file_option}", does))
    commands.append((f"rlway verify {bundle}", "compares the files with the SavedModel again"))
    return commands


def _other_actions(manifest: Manifest) -> list[tuple[str, str]]:
    """The option with which a sampled policy does the other of the two: acts greedily, or draws its actions."""
    draws = manifest.interface.noise_draws
    if manifest.explore is not None and draws:
        option = "--sigma" if draws[0].distribution == "normal" else "--temperature"
        return [(f" {option} 0", "the same with greedy actions")]
    if manifest.sampling is None or manifest.sampling.kind != "sampled" or not draws:
        return []
    sampled = sampling_explore(draws)
    given = {"--temperature": sampled.temperature, "--sigma": sampled.sigma}
    options = "".join(f" {option} {value:g}" for option, value in given.items() if value is not None)
    return [(options, "the same with actions drawn from its distribution")]


def _environment(manifest: Manifest) -> str | None:
    """The option that names the environment; None where it is not known, or cannot be typed."""
    name = manifest.env
    if not name or not name.isprintable():
        return None
    return f" --env {shlex.quote(name)}" if is_code(name) else ""


def _needs(manifest: Manifest) -> str:
    """What the environment needs besides gymnasium."""
    name = manifest.env or ""
    if is_code(name):
        return "; needs what its environment imports"
    return "; needs PyBullet" if "bullet" in name.lower() else ""
