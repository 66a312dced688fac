"""A Dockerfile as values: its stages and their instructions, with continued lines joined.

In:      the text of a Dockerfile without heredocs.
Out:     `Stage`s in order; the instructions before the first FROM are in `before`.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple


class Instruction(NamedTuple):
    """One line, such as ("COPY", "serve serve")."""

    name: str
    value: str

    def words(self) -> list[str]:
        """The exec form's words."""
        words = json.loads(self.value[self.value.index("[") :])
        assert isinstance(words, list)
        return [str(word) for word in words]


class Stage(NamedTuple):
    """What stands between one FROM and the next."""

    name: str
    origin: str
    instructions: list[Instruction]

    def all(self, name: str) -> list[Instruction]:
        """Every instruction of that name."""
        return [instruction for instruction in self.instructions if instruction.name == name]

    def last(self, name: str) -> Instruction:
        """The one that counts: the last of that name."""
        return self.all(name)[-1]


class Dockerfile(NamedTuple):
    """The whole file."""

    before: list[Instruction]
    stages: list[Stage]

    @classmethod
    def parse(cls, text: str) -> Dockerfile:
        """Reads comments, continuations and instructions; everything else is their words."""
        lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        joined = re.sub(r"\\\n\s*", "", lines)
        parsed = cls([], [])
        for line in filter(None, map(str.strip, joined.splitlines())):
            name, _, value = line.partition(" ")
            if name == "FROM":
                origin, *alias = value.split()
                parsed.stages.append(Stage(alias[1] if alias else "", origin, []))
            else:
                instructions = parsed.stages[-1].instructions if parsed.stages else parsed.before
                instructions.append(Instruction(name, value.strip()))
        return parsed

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def lineage(self, name: str) -> list[Stage]:
        """The stage and those it is built on, which together are what its image is made of."""
        stage = self.stage(name)
        names = [stage.name for stage in self.stages]
        return [stage, *(self.lineage(stage.origin) if stage.origin in names else [])]
