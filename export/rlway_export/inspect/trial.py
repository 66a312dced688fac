"""What an export of a path would do, found by the code of the export itself.

In:      a path.
Out:     `Trial`: the source, the policy, which formats it can be converted to.
Refuses: nothing: the sentence of a refusal, or of any other error, is what was found.

The policy is loaded and converted in a temporary folder. No episode is played, no file is compared or measured, and
nothing is published.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rlway_client.common.quote import reason
from rlway_client.contract.errors import RlwayError
from rlway_client.contract.interface import Interface
from rlway_client.contract.manifest import Manifest, Sampling
from rlway_export.bundle.conversion import ExportPlan, convert
from rlway_export.formats.context import Context
from rlway_export.formats.lowering.policy import rows_of_model
from rlway_export.formats.onnx_graphs import OnnxGraphs
from rlway_export.formats.registry import parse_formats
from rlway_export.inspect.printable import printable
from rlway_export.inspect.report import Export, Policy
from rlway_export.reference.onnx.policy import OnnxPolicy
from rlway_export.sources.base import Source
from rlway_export.sources.detect import open_source
from rlway_export.sources.run import RunSource

TRIED = ("onnx", "tflite", "c")  # the other formats are made from these
NAME = "NAME"  # which the user chooses


class Trial(NamedTuple):
    """How far an export gets."""

    source: Source | None = None  # None: not even opened
    refused: str | None = None
    manifest: Manifest | None = None  # None: refused
    notes: Sequence[str] = ()
    formats: Mapping[str, str | None] = MappingProxyType({})  # a format → the sentence with which it is refused
    model: Any | None = None  # the policy as ONNX in plain operators
    source_rows: int | None = None  # the only number of rows that an ONNX file takes; None for any
    rows: int | None = None  # likewise of the exported files

    @classmethod
    def of(cls, path: Path) -> Trial:
        """Tries everything that an export of the path does until its files are compared."""
        source: Source | None = None
        with tempfile.TemporaryDirectory(prefix="rlway-inspect-") as folder:
            try:
                source = open_source(path, "best")
                return cls._converted(source, Path(folder))
            except Exception as error:  # of TensorFlow, a converter, onnxruntime: an export would raise it as well
                return cls(source, _sentence(error).replace(folder, str(path)))

    @classmethod
    def _converted(cls, source: Source, folder: Path) -> Trial:
        opened = Unplayed(*source) if isinstance(source, RunSource) else source
        context = convert(ExportPlan(opened, "policy", [], lambda _: None, None, 0, None), folder, 1)
        formats = {name: _refusal(context, name) for name in TRIED}
        graphs, policy = context.source, context.policy
        return cls(
            source,
            None,
            context.manifest,
            [*context.manifest.notes, *context.notes],
            formats,
            _plain_model(context),
            1 if isinstance(policy, OnnxPolicy) and not policy.layout.is_free else None,
            rows_of_model(graphs.model) if isinstance(graphs, OnnxGraphs) else graphs.rows,
        )

    @property
    def policy(self) -> Policy | None:
        """The tensors of the exported files, and how the source chooses its actions."""
        if self.manifest is None:
            return None
        return described(self.manifest.interface, self.manifest.sampling)

    def export(self, path: Path, flags: Sequence[str] = ()) -> Export:
        """What an export would do; `flags` are options that it takes, and needs where it is refused without them."""
        needed = flags if self.refused is not None else ()
        words = ["rlway", "export", os.fsdecode(path), *needed, "--models", "models", "--policy", NAME]
        return Export(
            refused=self.refused,
            formats=dict(self.formats),
            notes=[*self.notes],
            flags=[*flags],
            command=shlex.join(words),
        )


def described(interface: Interface, sampling: Sampling | None) -> Policy:
    """A policy's tensors as a report has them; `sampling` is None for a greedy one."""
    return Policy(
        observation=interface.observation,
        actions=interface.actions,
        noise=interface.noise,
        draws=interface.noise_draws,
        time_step=[*interface.time_step],
        state=interface.state,
        outputs=interface.outputs,
        chooses="greedy" if sampling is None else sampling.kind,
        epsilon=None if sampling is None else sampling.epsilon,
    )


class Unplayed(RunSource):
    """A run that leaves its environment alone, as the export of a training that still goes on does."""

    @property
    def is_busy(self) -> bool:
        return True


def _refusal(context: Context, name: str) -> str | None:
    try:
        for wanted in parse_formats(name):
            wanted.write(context)
    except Exception as error:  # the other formats may still be possible
        return _sentence(error)
    return None


def _plain_model(context: Context) -> Any | None:
    try:
        return context.plain_onnx_model
    except Exception:  # `formats` says why
        return None


def _sentence(error: Exception) -> str:
    """One sentence, whatever raised the error. What others say may quote anything of a file."""
    return str(error) if isinstance(error, RlwayError) else f"{type(error).__name__}: {printable(reason(error))}."
