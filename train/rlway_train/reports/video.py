"""A short film of episodes.

In:      an environment that renders, a policy.
Out:     an mp4 file of a few seconds; shorter if the environment renders slowly.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np

from rlway_client.contract.errors import EnvironmentFault
from rlway_client.contract.specs import AnyArray
from rlway_train.envs.domain import Domain
from rlway_train.policies.numpy import BatchPolicy, PolicyState

SHORTEST_S = 2.0  # several episodes, if they are short
LONGEST_S = 10.0
MAX_FPS = 30.0
FILMING_S = 20.0  # PyBullet's software renderer can take half a second for a picture


def film(domain: Domain, policy: BatchPolicy, seed: int, path: Path, filming_s: float = FILMING_S) -> None:
    """Writes the film. Raises what the environment's renderer raises. It takes `filming_s` at most."""
    end_s = time.perf_counter() + filming_s
    plain = domain.make()  # an environment without a renderer may not have the argument
    modes = plain.metadata.get("render_modes") or []
    plain.close()
    if "rgb_array" not in modes:
        raise EnvironmentFault("it has no render mode rgb_array")
    env = domain.make(render=True)
    try:
        rate = float(env.metadata.get("render_fps") or MAX_FPS)
        stride = max(1, int(-(-rate // MAX_FPS)))  # every n-th frame, at the environment's own pace
        writer: Any = imageio.get_writer(path, fps=rate / stride, codec="libx264", macro_block_size=2, quality=7)
        with writer:
            step, ended = 0, True
            state: PolicyState = ()
            while step < LONGEST_S * rate and not (ended and step >= SHORTEST_S * rate):
                if ended:
                    observation, _ = env.reset(seed=seed if step == 0 else None)
                    state = ()
                if step % stride == 0:
                    writer.append_data(_frame(env.render()))
                    if time.perf_counter() >= end_s:
                        break
                row = np.asarray(observation, np.float32)[None]
                actions, state = policy(row, state)
                action = actions[0]
                # Not every environment takes numpy's own integers.
                observation, _, terminated, truncated, _ = env.step(action if action.ndim else action.item())
                ended, step = terminated or truncated, step + 1
    finally:
        env.close()


def _frame(image: object) -> AnyArray:
    """The picture with an even width and height, which the codec needs."""
    frame = np.asarray(image)
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
