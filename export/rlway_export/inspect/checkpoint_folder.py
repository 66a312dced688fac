"""The report on a folder of checkpoints, whose agent only its code can build.

In:      what TF-Agents' common.Checkpointer or tf.train.Checkpoint wrote.
Out:     `Report`: what the latest checkpoint holds. No code is run.
Refuses: a damaged checkpoint, one that tf.train.Checkpoint did not write (RunInvalid).
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from rlway_export.inspect.agent import recognise_agent
from rlway_export.inspect.file_time import file_time
from rlway_export.inspect.report import Checkpoints, Report, Written
from rlway_export.inspect.trial import Trial
from rlway_export.sources.agent.restored import GRAPH, Reader
from rlway_export.sources.saved_checkpoint import INDEX, find_checkpoint, saved_checkpoints

FLAGS = ["--agent", "MODULE:FUNCTION"]
SLOT = ".OPTIMIZER_SLOT"  # in the key of what an optimizer keeps of a variable
DEPTH = 2  # names of an object's key that tell which it is: agent/_q_network


def checkpoint_report(path: Path) -> Report:
    """What the latest one holds, and what an export would need."""
    saved = find_checkpoint(path, "latest")
    reader = Reader.open(saved.prefix)
    shapes = {key: shape for key, shape in reader.values.get_variable_to_shape_map().items() if key != GRAPH}
    agent = recognise_agent({name for key in shapes for name in key.split("/")})
    numbers = [one.number for one in saved_checkpoints(path) if one.number is not None]
    return Report(
        path=str(path),
        kind="checkpoints",
        title="a folder of checkpoints, without the graph of their policy",
        written=Written(
            by="tf.train.Checkpoint",
            file_time=file_time(saved.prefix.with_name(saved.prefix.name + INDEX)),
            agent=agent.name if agent else None,
            agent_seen=agent.seen if agent else None,
        ),
        train_step=reader.train_step,
        checkpoints=Checkpoints(numbers, saved.number),
        contents=_contents(shapes),
        export=Trial.of(path).export(path, FLAGS),
    )


def _contents(shapes: dict[str, list[int]]) -> dict[str, int]:
    """How many numbers each part of the objects has, without those of optimizers."""
    sizes: Counter[str] = Counter()
    for key, shape in sorted(shapes.items()):
        if SLOT not in key and shape:  # a scalar is a counter
            sizes["/".join(key.split("/")[:DEPTH])] += math.prod(shape)
    return dict(sizes)
