"""Policies of a few operations, each of which draws its action in another way.

Every policy observes float32[4]. What it does without its draws is known: it is the mode of its distribution, which
TF-Agents' GreedyPolicy computes, or a function that is written beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp  # type: ignore[import-untyped]
from tf_agents.distributions.gumbel_softmax import GumbelSoftmax
from tf_agents.distributions.masked import MaskedCategorical
from tf_agents.distributions.shifted_categorical import ShiftedCategorical
from tf_agents.policies.tf_policy import TFPolicy
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import PolicyStep, StepType, TimeStep, time_step_spec

from rlway_client.contract.interface import Draw
from tests.export import stock

tfd, tfb = tfp.distributions, tfp.bijectors
PUSH = BoundedTensorSpec([2], tf.float32, -9, 9, "action")
CHOICE = BoundedTensorSpec([], tf.int64, 0, 2, "action")
_WEIGHTS = 0.5 * np.random.default_rng(3).standard_normal((4, 64)).astype(np.float32)


def numbers(seen: Any, *shape: int) -> Any:
    """Some function of the observation, [B, *shape]."""
    size = int(np.prod(shape))
    return tf.reshape(tf.linalg.matmul(seen, _WEIGHTS[:, :size]), [-1, *shape])


def widths(seen: Any, *shape: int) -> Any:
    """Some positive function of the observation, [B, *shape]."""
    return tf.exp(0.3 * numbers(seen[:, ::-1], *shape))


class Drawing(TFPolicy):  # type: ignore[misc]
    """A policy with this action, or this distribution of actions, for an observation."""

    def __init__(
        self, spec: Any, act: Any = None, distribution: Any = None, observation: Any = stock.VECTOR, **options: Any
    ) -> None:
        super().__init__(time_step_spec(observation), spec, clip=False, **options)
        self.act, self.of = act, distribution

    def _variables(self) -> list[Any]:
        return []

    def _distribution(self, time_step: Any, policy_state: Any) -> Any:
        if self.of is None:
            raise NotImplementedError
        return PolicyStep(self.of(time_step.observation), policy_state)

    def _action(self, time_step: Any, policy_state: Any, seed: Any = None) -> Any:
        if self.act is None:
            return super()._action(time_step, policy_state, seed)
        return PolicyStep(self.act(time_step.observation), policy_state)


def step_of(seen: Any) -> TimeStep:
    """A step within an episode, for each of these observations."""
    rows = len(seen)
    return TimeStep(tf.fill([rows], StepType.MID), tf.zeros(rows), tf.ones(rows), tf.constant(seen))


class Example(NamedTuple):
    """A policy, its draws, and its actions without them: None where GreedyPolicy tells them."""

    policy: Callable[[], Any]
    draws: list[Draw]
    greedy: Any = None


def _drawn(spec: Any, act: Any, greedy: Any, *draws: Draw) -> Example:
    return Example(lambda: Drawing(spec, act), [*draws], greedy)


def _of(spec: Any, distribution: Any, *draws: Draw, greedy: Any = None) -> Example:
    return Example(lambda: Drawing(spec, distribution=distribution), [*draws], greedy)


def normal(size: int) -> Draw:
    return Draw("normal", size)


def gumbel(size: int) -> Draw:
    return Draw("gumbel", size)


def _plain_normal(seen: Any) -> Any:
    return numbers(seen, 2) + widths(seen, 2) * tf.random.normal([tf.shape(seen)[0], 2])


def _stateless_normal(seen: Any) -> Any:
    seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    return numbers(seen, 2) + tf.random.stateless_normal(tf.shape(seen[:, :2]), seed)


class Generated(Drawing):
    """Draws with a tf.random.Generator, whose state is a variable that every draw changes."""

    def __init__(self, draw: Any) -> None:
        generator: Any = tf.random.Generator.from_seed(1)
        super().__init__(PUSH, lambda seen: numbers(seen, 2) + draw(generator, [tf.shape(seen)[0], 2]))
        self.generator = generator


def _chosen(logits: Any) -> Any:
    return tf.random.categorical(logits, 1)[:, 0]


def _stateless_chosen(seen: Any) -> Any:
    seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    return tf.random.stateless_categorical(numbers(seen, 3), 1, seed)[:, 0]


def _gumbel(logits: Any) -> Any:
    """As programs of before the Categorical distribution have it."""
    uniform = tf.random.uniform(tf.shape(logits), 1e-20, 1.0)
    return tf.argmax(logits - tf.math.log(-tf.math.log(uniform)), -1)


def _twice(seen: Any) -> Any:
    noise = tf.random.normal([tf.shape(seen)[0], 1])
    return numbers(seen, 2) + tf.concat([noise, -2 * noise], -1)


def _two_sizes(seen: Any) -> Any:
    rows = tf.shape(seen)[0]
    return numbers(seen, 2) + tf.random.normal([rows, 1]) + 0.1 * tf.random.normal([rows, 2])


def _mixture(seen: Any) -> Any:
    components = tfd.MultivariateNormalDiag(numbers(seen, 3, 2), widths(seen, 3, 2))
    return tfd.MixtureSameFamily(tfd.Categorical(logits=numbers(seen, 3)), components)


def _most_probable_mean(seen: Any) -> Any:
    return tf.gather(numbers(seen, 3, 2), tf.argmax(numbers(seen, 3), -1), batch_dims=1)


def _masked(seen: Any) -> Any:
    return MaskedCategorical(
        numbers(seen, 3), tf.stack([seen[:, 0] > 0, seen[:, 0] <= 0, seen[:, 0] < 9], 1), dtype=tf.int64
    )


def _hand(seen: Any) -> Any:
    push = tfd.Independent(tfd.Normal(numbers(seen, 2), widths(seen, 2)), 1)
    return {"grip": tfd.Categorical(logits=numbers(seen, 3), dtype=tf.int32), "push": push}


ONE_HOT = BoundedTensorSpec([3], tf.int32, 0, 1, "action")
SEVERAL = BoundedTensorSpec([3], tf.int64, 0, 4, "action")
FROM_FIVE = BoundedTensorSpec([], tf.int32, 5, 7, "action")
GRID = BoundedTensorSpec([2, 3], tf.float64, -9, 9, "action")
SHARES = BoundedTensorSpec([3], tf.float32, 0, 1, "action")

EXAMPLES: dict[str, Example] = {
    "random.normal": _drawn(PUSH, _plain_normal, lambda seen: numbers(seen, 2), normal(2)),
    "stateless_normal": _drawn(PUSH, _stateless_normal, lambda seen: numbers(seen, 2), normal(2)),
    "Generator": Example(
        lambda: Generated(lambda generator, shape: generator.normal(shape)),
        [normal(2)],
        lambda seen: numbers(seen, 2),
    ),
    "random.categorical": _drawn(
        CHOICE, lambda seen: _chosen(numbers(seen, 3)), lambda seen: tf.argmax(numbers(seen, 3), -1), gumbel(3)
    ),
    "stateless_categorical": _drawn(CHOICE, _stateless_chosen, lambda seen: tf.argmax(numbers(seen, 3), -1), gumbel(3)),
    "argmax of logits and −log(−log u)": _drawn(
        CHOICE, lambda seen: _gumbel(numbers(seen, 3)), lambda seen: tf.argmax(numbers(seen, 3), -1), gumbel(3)
    ),
    "Normal": _of(PUSH, lambda seen: tfd.Normal(numbers(seen, 2), widths(seen, 2)), normal(2)),
    "Independent": _of(
        GRID,
        lambda seen: tfd.Independent(
            tfd.Normal(tf.cast(numbers(seen, 2, 3), tf.float64), tf.constant(0.5, tf.float64)), 2
        ),
        normal(6),
    ),
    "MultivariateNormalDiag": _of(
        PUSH, lambda seen: tfd.MultivariateNormalDiag(numbers(seen, 2), widths(seen, 2)), normal(2)
    ),
    "MultivariateNormalTriL": _of(
        PUSH,
        lambda seen: tfd.MultivariateNormalTriL(numbers(seen, 2), tf.constant([[0.5, 0.0], [0.4, 0.3]])),
        normal(2),
    ),
    "TanhNormal": _of(
        PUSH,
        lambda seen: tfd.TransformedDistribution(tfd.Normal(numbers(seen, 2), widths(seen, 2)), tfb.Tanh()),
        normal(2),
        greedy=lambda seen: tf.tanh(numbers(seen, 2)),
    ),
    "Categorical": _of(CHOICE, lambda seen: tfd.Categorical(logits=numbers(seen, 3), dtype=tf.int64), gumbel(3)),
    "Categorical of probabilities": _of(
        CHOICE, lambda seen: tfd.Categorical(probs=tf.nn.softmax(numbers(seen, 3)), dtype=tf.int64), gumbel(3)
    ),
    "Categorical from 5": _of(
        FROM_FIVE, lambda seen: ShiftedCategorical(logits=numbers(seen, 3), dtype=tf.int32, shift=5), gumbel(3)
    ),
    "Categorical of several": _of(
        SEVERAL, lambda seen: tfd.Categorical(logits=numbers(seen, 3, 5), dtype=tf.int64), gumbel(15)
    ),
    "MaskedCategorical": _of(CHOICE, _masked, gumbel(3)),
    "OneHotCategorical": _of(
        ONE_HOT, lambda seen: tfd.OneHotCategorical(logits=numbers(seen, 3), dtype=tf.int32), gumbel(3)
    ),
    "RelaxedOneHotCategorical": _of(
        SHARES,
        lambda seen: tfd.RelaxedOneHotCategorical(0.5, logits=numbers(seen, 3)),
        gumbel(3),
        greedy=lambda seen: tf.nn.softmax(numbers(seen, 3) / 0.5),
    ),
    "GumbelSoftmax": _of(
        SHARES,
        lambda seen: GumbelSoftmax(0.7, logits=numbers(seen, 3), dtype=tf.float32),
        gumbel(3),
    ),
    "MixtureSameFamily": _of(PUSH, _mixture, gumbel(3), normal(6), greedy=_most_probable_mean),
    "mixed parts": _of({"grip": stock.HAND["grip"], "push": PUSH}, _hand, gumbel(3), normal(2)),
    "one draw used twice": _drawn(PUSH, _twice, lambda seen: numbers(seen, 2), normal(1)),
    "two draws of different sizes": _drawn(PUSH, _two_sizes, lambda seen: numbers(seen, 2), normal(1), normal(2)),
}
