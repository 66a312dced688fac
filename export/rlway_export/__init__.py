"""RLway's exporter: a trained TF-Agents policy as ONNX, TFLite and SavedModel, proven to act alike.

run ──▶ source ──▶ formats ──▶ parity ──▶ bundle

    bundle = rlway_export.export("runs/a", "models", "cartpole")
    bundle.path, bundle.manifest.parity
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlway_client.contract.bundle import Bundle
    from rlway_export.bundle.options import Actions

__all__ = ["export"]
__version__ = "0.1.0"


def export(
    run: str | Path,
    models: str | Path,
    policy: str,
    *,
    checkpoint: str | int = "best",
    formats: str | Iterable[str] | None = None,
    observations: str | Path | None = None,
    imports: Iterable[str] = (),
    evaluate: int = 0,
    env: str | type[Any] | None = None,
    time_limit: int | None = None,
    actions: Actions = "greedy",
    guard: str | Path | None = None,
    meaning_file: str | Path | None = None,
    agent: str | Callable[[], Any] | None = None,
    observation: str | Iterable[str] = (),
    action: str | Iterable[str] = (),
    meaning: str | Iterable[str] = (),
    state: str | Iterable[str] = (),
    fixed: str | Iterable[str] = (),
    reference: str | Path | None = None,
    log: Callable[[str], None] | None = None,
) -> Bundle:
    """Converts a trained policy, proves that the files act alike, and publishes the bundle, as `rlway export` does.

    run           a run; what TF-Agents saved; a SavedModel, an ONNX file, a Keras network; with `agent`, checkpoints.
    models        the folder of bundles: the next version goes to models/POLICY/VERSION.
    checkpoint    "best", "latest", a checkpoint's number, or "initial".
    formats       "onnx,tflite,c" or a list of such names; ONNX and TFLite if not given. The SavedModel is always there.
    observations  an NPZ file of observations to compare the files on, in place of the run's.
    imports       modules to import first, because a SavedModel uses types from them.
    evaluate      plays so many episodes with every file.
    env           the environment to play in, by its name, or its class; with `time_limit` it replaces the run's own.
    actions       "greedy" or "sampled": what a server does where a request does not say.
    guard         a file of limits for the policy's actions; or "observed": those of episodes that it plays for this.
    meaning_file  a JSON file that says what the policy's numbers stand for; otherwise as the environment says.
    log           is called with a line about each step.

    agent         for a folder of tf.train.Checkpoint or common.Checkpointer: a function that builds the TFAgent, or its
                  name, "module:function" or "file.py:function".

    For an ONNX file, a Keras network, and a SavedModel without `action`:

    observation   the names of its inputs that are the observation; `action`, of the outputs that are the action.
    meaning       what these are: "action", "q_values", "logits" or "mean".
    state         pairs "IN:OUT" of an input and the output of its next value.
    fixed         inputs that always have one value, "NAME=NUMBER".
    reference     an NPZ file of inputs and outputs that the original framework recorded.

    What is not given is taken from the names of the tensors, and a note says so.

    Raises rlway_client.RlwayError, whose text is the sentence that the command would print. Then nothing is published.
    """
    from rlway_client.envs.names import name_of
    from rlway_export.bundle.options import check_options
    from rlway_export.common.quiet import quiet_conversion
    from rlway_export.formats.registry import DEFAULT_FORMATS
    from rlway_export.sources.agent.code import AgentCode
    from rlway_export.sources.detect import open_source  # light, so that it can refuse before TensorFlow loads
    from rlway_export.sources.tensor_options import TensorOptions

    named = DEFAULT_FORMATS if formats is None else formats if isinstance(formats, str) else ",".join(formats)
    env_name = None if env is None else name_of(env)
    chosen = check_options(policy, named, evaluate, env_name, time_limit)
    tensors = TensorOptions(
        _several(observation),
        _several(action),
        _several(meaning),
        _several(state),
        _several(fixed),
        None if reference is None else Path(reference),
    )
    code = None if agent is None else AgentCode(agent)
    source = open_source(Path(run), str(checkpoint), tensors, code, actions == "sampled")
    with quiet_conversion():
        from rlway_export.bundle.guard import WantedGuard
        from rlway_export.bundle.writer import write_bundle
        from rlway_export.reference.policy import import_named

        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # in a notebook, TensorFlow sets this to INFO at import
        for module in imports:
            import_named(module)
        given = None if observations is None else Path(observations)
        say = log or (lambda _: None)
        guarded = None if guard is None else WantedGuard.of(guard)
        told = None if meaning_file is None else Path(meaning_file)
        options = (evaluate, given, env_name, time_limit, actions, guarded, told)
        return write_bundle(source, Path(models), policy, chosen, say, *options)


def _several(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
