"""A draw that no input can replace is refused by name, before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tf_agents.policies.random_tf_policy import RandomTFPolicy
from tf_agents.trajectories import time_step_spec

from rlway_client.contract.errors import ExportRefused
from rlway_export.reference.graph_policy import GraphPolicy
from tests.export import stock
from tests.export.graphs.drawing import CHOICE, PUSH, Drawing, Generated, numbers, tfd, widths

pytestmark = pytest.mark.slow


def in_a_loop(seen: Any) -> Any:
    def add(i: Any, sum_: Any) -> Any:
        return i + 1, sum_ + tf.random.normal(tf.shape(sum_))

    return tf.while_loop(lambda i, _: i < 3, add, [0, numbers(seen, 2)])[1]


def in_a_branch(seen: Any) -> Any:
    mean = numbers(seen, 2)
    return tf.cond(seen[0, 0] > 0, lambda: mean + tf.random.normal(tf.shape(mean)), lambda: mean)


def in_a_branch_of_a_loop(seen: Any) -> Any:
    def add(i: Any, sum_: Any) -> Any:
        return i + 1, tf.cond(i > 1, lambda: sum_ + tf.random.normal(tf.shape(sum_)), lambda: sum_)

    return tf.while_loop(lambda i, _: i < 3, add, [0, numbers(seen, 2)])[1]


def rows_mixed(seen: Any) -> Any:
    """The numbers of all rows are centred together."""
    noise = tf.random.normal([tf.shape(seen)[0], 2])
    return numbers(seen, 2) + noise - tf.reduce_mean(noise, 0)


def by_column(seen: Any) -> Any:
    """The first numbers of all rows come before the second ones."""
    noise = tf.random.normal([2 * tf.shape(seen)[0]])
    return numbers(seen, 2) + tf.transpose(tf.reshape(noise, [2, -1]))


def per_number_of_rows(seen: Any) -> Any:
    rows = tf.shape(seen)[0]
    return numbers(seen, 2) + tf.reduce_sum(tf.random.normal([rows, rows]), 1, keepdims=True)


ONLY = "expected normal numbers, a choice by logits, or Gumbel numbers; save GreedyPolicy"
REFUSED: dict[str, tuple[Any, str]] = {
    "TruncatedNormal": (
        lambda: Drawing(PUSH, distribution=lambda seen: tfd.TruncatedNormal(numbers(seen, 2), widths(seen, 2), -3, 3)),
        f"draws by StatelessParameterizedTruncatedNormal in .*; {ONLY}",
    ),
    "truncated_normal": (
        lambda: Drawing(PUSH, lambda seen: numbers(seen, 2) + tf.random.truncated_normal(tf.shape(seen[:, :2]))),
        f"draws by TruncatedNormal in truncated_normal/TruncatedNormal; {ONLY}",
    ),
    "a generator's truncated normal": (
        lambda: Generated(lambda generator, shape: generator.truncated_normal(shape)),
        f"draws by StatelessTruncatedNormalV2 in .*; {ONLY}",
    ),
    "random.poisson": (
        lambda: Drawing(PUSH, lambda seen: tf.random.poisson([], widths(seen, 2))),
        f"draws by RandomPoissonV2 in .*; {ONLY}",
    ),
    "random.gamma": (
        lambda: Drawing(PUSH, lambda seen: tf.random.gamma([], widths(seen, 2))),
        f"draws by RandomGamma in .*; {ONLY}",
    ),
    "Poisson": (
        lambda: Drawing(PUSH, distribution=lambda seen: tfd.Poisson(widths(seen, 2))),
        "draws within a loop or branch .*which no input can replace; save GreedyPolicy",
    ),
    "Gamma": (
        lambda: Drawing(PUSH, distribution=lambda seen: tfd.Gamma(widths(seen, 2), 1.0)),
        "draws within a loop or branch .*which no input can replace; save GreedyPolicy",
    ),
    "Uniform": (
        lambda: Drawing(PUSH, distribution=lambda seen: tfd.Uniform(numbers(seen, 2) - 1, numbers(seen, 2) + 1)),
        f"draws by StatelessRandomUniformV2 in .*; {ONLY}",
    ),
    "a uniform action": (
        lambda: RandomTFPolicy(time_step_spec(stock.VECTOR), CHOICE),
        f"draws by RandomUniformInt in random_uniform; {ONLY}",
    ),
    "shuffle": (
        lambda: Drawing(PUSH, lambda seen: tf.random.shuffle(numbers(seen, 2))),
        f"draws by RandomShuffle in RandomShuffle; {ONLY}",
    ),
    "dropout": (
        lambda: Drawing(PUSH, lambda seen: tf.nn.dropout(numbers(seen, 2), 0.5)),
        f"draws by RandomUniform in dropout/.*; {ONLY}",
    ),
    "a loop": (
        lambda: Drawing(PUSH, in_a_loop),
        r"draws within a loop or branch \(RandomStandardNormal in while/random_normal/RandomStandardNormal\)",
    ),
    "a branch": (
        lambda: Drawing(PUSH, in_a_branch),
        r"draws within a loop or branch \(RandomStandardNormal in cond/random_normal/RandomStandardNormal\)",
    ),
    "a branch of a loop": (
        lambda: Drawing(PUSH, in_a_branch_of_a_loop),
        r"draws within a loop or branch \(RandomStandardNormal in .*cond/random_normal/RandomStandardNormal\)",
    ),
    "several choices at once": (
        lambda: Drawing(stock.CHOICE, lambda seen: tf.random.categorical(numbers(seen, 3), 3)[:, 1]),
        r"draws several choices at once \(Multinomial in categorical/Multinomial\), expected one",
    ),
    "rows that are mixed": (
        lambda: Drawing(PUSH, rows_mixed),
        "the numbers that it draws for one row of a batch change the action of another; save GreedyPolicy",
    ),
    "numbers by column": (
        lambda: Drawing(PUSH, by_column),
        "the numbers that it draws for one row of a batch change the action of another; save GreedyPolicy",
    ),
    "as many numbers as rows": (
        lambda: Drawing(PUSH, per_number_of_rows),
        r"expected numbers for each row of the batch, got the shape \[3, 3\] for 3 rows; save GreedyPolicy",
    ),
    "OU noise": (
        lambda: stock.agent("ddpg").collect_policy,
        r"changes a variable while it acts \(Assign\w*VariableOp.*\), as the noise of DDPG's collect policy does; .*",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_input_can_replace_is_refused_by_name(case: str, tmp_path: Path) -> None:
    """The operation, where it is, and what to save instead."""
    make, expected = REFUSED[case]
    with pytest.raises(ExportRefused, match=expected):
        GraphPolicy(stock.save(make(), tmp_path / "source"), str(tmp_path / "source"))
