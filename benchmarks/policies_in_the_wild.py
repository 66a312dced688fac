"""Which of the policies that people save with TF-Agents can be exported: agents, ages and ways to save them.

In:      nothing but this machine: PYTHONPATH=. .venv-train/bin/python benchmarks/policies_in_the_wild.py
Out:     a table: for each agent and each of its policies, whether the ONNX file equals the SavedModel, or why
         the export was refused. The exit status is 1 where an error was none of RLway's sentences.

    policies   greedy     GreedyPolicy(agent.policy), as the trigger's greedy_policy
               policy     agent.policy
               collect    agent.collect_policy
    ages       today      as this TensorFlow writes it
               2.5, 2.3   as TensorFlow 2.5 and 2.3 wrote it: with types that are known no more
    batch      any        PolicySaver(policy)
               1          PolicySaver(policy, batch_size=1)

"equal" is what every export has proven before it publishes anything: the file's actions are the SavedModel's for
thousands of rows, and where it draws them, their distribution is the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rlway_client.contract.errors import RlwayError
from rlway_export.common.quiet import quiet_conversion

AGENTS = (
    "dqn",
    "double-dqn",
    "categorical-dqn",
    "dict",
    "recurrent-dqn",
    "ddpg",
    "td3",
    "sac",
    "cql-sac",
    "ppo",
    "ppo-mixed",
    "recurrent-ppo",
    "reinforce",
    "cloned-push",
    "epsilon-bandit",
)
TITLES = {"dict": "dqn of several observations", "ppo-mixed": "ppo of a mixed action", "cloned-push": "cloning"}
FORMS = ("greedy", "policy", "collect")
AGES = {"today": None, "2.5": "tfp", "2.3": "distribution"}
BATCHES = {"any": None, "1": 1}
EQUAL = "equal"


class Cell(NamedTuple):
    """What became of one SavedModel."""

    agent: str
    form: str
    age: str
    batch: str
    result: str  # `EQUAL`, or the sentence with which it was refused
    crashed: bool = False


def policy_of(agent: str, form: str) -> Any:
    """One of an agent's policies."""
    from tests.export import stock

    if form == "greedy":
        return stock.greedy(agent)
    made = stock.agent(agent)
    return made.policy if form == "policy" else made.collect_policy


def tried(agents: Iterable[str], forms: Iterable[str], ages: Iterable[str], batches: Iterable[str]) -> Iterator[Cell]:
    """Exports each of them in a temporary folder."""
    import tensorflow as tf
    from tf_agents.policies.policy_saver import PolicySaver

    from tests.export.graphs.ageing import aged

    for agent in agents:
        for form in forms:
            policy = policy_of(agent, form)
            for batch in batches:
                with tempfile.TemporaryDirectory(prefix="rlway-wild-") as scratch:
                    folder = Path(scratch)
                    step = tf.Variable(7, dtype=tf.int64)
                    PolicySaver(policy, batch_size=BATCHES[batch], train_step=step).save(str(folder / "today"))
                    for age in ages:
                        old = AGES[age]
                        source = folder / age
                        if old is not None:
                            aged(folder / "today", source, old)
                        yield Cell(agent, form, age, batch, *_exported(source, folder / "models"))


def _exported(source: Path, models: Path) -> tuple[str, bool]:
    from rlway_export.bundle.writer import write_bundle
    from rlway_export.formats.registry import parse_formats
    from rlway_export.sources.detect import open_source

    try:
        bundle = write_bundle(open_source(source, "best"), models, "wild", parse_formats("onnx"), lambda _: None)
    except RlwayError as error:
        return str(error).replace(f"{source}: ", "").replace(str(source), "it"), False
    except Exception as error:  # what a user would see as a traceback
        return f"{type(error).__name__}: {error}", True
    return (EQUAL if bundle.manifest.parity[0].passed else "not equal"), False


def table(cells: list[Cell]) -> str:
    """One row for each policy of each agent; reasons have numbers, and follow below."""
    columns = [(age, batch) for age in AGES for batch in BATCHES if (age, batch) in {(c.age, c.batch) for c in cells}]
    heads = [f"{age}, batch {batch}" for age, batch in columns]
    lines = [f"| agent | policy | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    reasons: list[str] = []
    found = {cell[:4]: cell.result for cell in cells}
    for agent, form in dict.fromkeys((cell.agent, cell.form) for cell in cells):
        words = []
        for age, batch in columns:
            result = found.get((agent, form, age, batch), "")
            if result not in (EQUAL, ""):
                reasons += [] if result in reasons else [result]
                result = f"refused ({reasons.index(result) + 1})"
            words.append(result)
        lines.append(f"| {TITLES.get(agent, agent)} | {form} | {' | '.join(words)} |")
    equal = sum(cell.result == EQUAL for cell in cells)
    lines += ["", f"{equal} of {len(cells)} are equal, {len(cells) - equal} are refused."]
    return "\n".join([*lines, *(f"({i}) {reason}" for i, reason in enumerate(reasons, start=1))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", default=",".join(AGENTS), help="a comma-separated list")
    parser.add_argument("--forms", default=",".join(FORMS), help=f"of {', '.join(FORMS)}")
    parser.add_argument("--ages", default=",".join(AGES), help=f"of {', '.join(AGES)}")
    parser.add_argument("--batches", default=",".join(BATCHES), help=f"of {', '.join(BATCHES)}")
    options = parser.parse_args()
    with quiet_conversion():
        from rlway_export.checks import latency

        latency.LONGEST_S = 0.02  # how fast the files are is not the question here
        chosen = (value.split(",") for value in (options.agents, options.forms, options.ages, options.batches))
        cells = []
        for cell in tried(*chosen):
            cells.append(cell)
            print(f"{len(cells):4} {' '.join(cell[:4])}: {cell.result[:60]}", file=sys.stderr, flush=True)
    print(table(cells))
    sys.exit(any(cell.crashed for cell in cells))


if __name__ == "__main__":
    main()
