"""How many frames of the environment make one observation, in a sentence for people.

In:      a manifest.
Out:     the sentence, for a caller that has to stack the frames itself; None where one frame is one observation.
"""

from __future__ import annotations

from rlway_client.contract.manifest import Manifest


def frame_sentence(manifest: Manifest) -> str | None:
    """`frame_stack`, and how the frames are joined."""
    frames = manifest.frame_stack
    if frames == 1:
        return None
    return (
        f"An observation is the environment's last {frames} frames (frame_stack {frames}), joined in its last "
        f"dimension, the newest last; an episode's first frame stands for those before it."
    )
