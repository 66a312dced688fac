"""Recurrent DQN: its policy state, the sequences it learns from, and the exported function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tf_agents.trajectories import StepType, TimeStep, Transition

import rlway_train
from rlway_client.contract.run import read_run
from rlway_client.contract.specs import AnyArray, FloatArray, TensorSpec
from rlway_train.agents.factory import make_learner, make_replay
from rlway_train.agents.recurrent_dqn import RecurrentDqnLearner
from rlway_train.collect.adders.factory import make_adder
from rlway_train.collect.adders.sequence import SequenceAdder
from rlway_train.collect.collector import LocalCollector
from rlway_train.collect.evaluator import Evaluator
from rlway_train.collect.transition import FIRST, LAST, SequenceColumns
from rlway_train.config.settings import DqnSettings
from rlway_train.envs.domain import Domain, find_domain
from rlway_train.envs.vector import Environments
from rlway_train.policies.numpy import PolicyState, reset_state
from tests.policies import Always
from tests.train.summaries import read_scalars

pytestmark = pytest.mark.slow

COUNTING = "rlway-tests/Counting-v0"  # three steps that pay 2, 3 and 4; even episodes are truncated, odd ones terminate
LENGTH, BURN_IN, BATCH = 5, 2, 16
SETTINGS: dict[str, Any] = {
    "hidden": (8, 6), "lstm": 7, "sequence_length": LENGTH, "burn_in": BURN_IN, "batch_size": BATCH,
    "block_steps": BATCH, "block_iterations": 4, "learning_rate": 1e-2, "xla": False,
}  # fmt: skip
DOMAIN = Domain(
    env="imagined",
    spec=EnvSpec("Imagined-v0"),
    leaves=[TensorSpec("observation", (2,), "float32")],
    action=TensorSpec("action", (), "int64", 0, 1),
    discretize=None,
    action_values=None,
)
COLUMNS = SequenceColumns(LENGTH, obs_dim=2, action_dim=1)
OBSERVATION, ACTION, REWARD, DISCOUNT = COLUMNS.observation, COLUMNS.action.start, COLUMNS.reward, COLUMNS.discount


def learner(**changes: Any) -> RecurrentDqnLearner:
    settings = DqnSettings(**(SETTINGS | changes))
    return RecurrentDqnLearner(settings, DOMAIN, 1, make_replay(settings, COLUMNS.width))


@pytest.fixture(scope="module")
def learning() -> RecurrentDqnLearner:
    """An untrained learner with larger weights than initial ones."""
    return with_larger_weights(learner())


@pytest.fixture(scope="module")
def differing() -> RecurrentDqnLearner:
    """The same, which also observes differences. Its observations are normalised."""
    made = learner(differences=True, normalize=True)
    made.write(flat(sequences(3)))
    return with_larger_weights(made)


@pytest.fixture(params=["learning", "differing"])
def either(request: pytest.FixtureRequest) -> Any:  # RecurrentDqnLearner
    """A learner without differences, and one with them."""
    return request.getfixturevalue(request.param)


def with_larger_weights(made: RecurrentDqnLearner) -> RecurrentDqnLearner:
    rng = np.random.default_rng(0)
    for variable in made._network.trainable_variables:
        variable.assign_add(rng.normal(0.0, 0.5, variable.shape))
    return made


def sequences(seed: int, n: int = BATCH) -> AnyArray:  # -> [n, LENGTH + 1, frame]
    """Random sequences within episodes."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(n, LENGTH + 1, COLUMNS.frame_width)).astype(np.float32)
    frames[..., 0], frames[..., ACTION], frames[..., DISCOUNT] = StepType.MID, rng.integers(0, 2, (n, LENGTH + 1)), 1.0
    return frames


def flat(frames: AnyArray) -> FloatArray:
    rows: FloatArray = frames.reshape(len(frames), -1)
    return rows


def collected(mode: AutoresetMode, length: int, n: int) -> AnyArray:  # -> [n, length + 1, frame]
    vector = SyncVectorEnv([lambda: gymnasium.make(COUNTING)] * 2, autoreset_mode=mode)
    collector = LocalCollector(
        Environments(COUNTING, vector), 0, SequenceAdder(2, SequenceColumns(length, obs_dim=2, action_dim=1))
    )
    return collector.collect(Always(1), n).reshape(n, length + 1, -1)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_sequence_is_what_happened_frame_after_frame(mode: AutoresetMode) -> None:
    """An episode of three steps has four frames, and the next frame is the next episode's first."""
    for frames in collected(mode, length=6, n=60):
        episode, step = frames[:, OBSERVATION].T
        np.testing.assert_array_equal(np.diff(4 * episode + step), 1)
        np.testing.assert_array_equal(frames[:, 0], np.select([step == 0, step == 3], [FIRST, LAST], 1.0))
        taken = frames[:-1][step[:-1] < 3]
        np.testing.assert_array_equal(taken[:, ACTION], 1)
        np.testing.assert_array_equal(taken[:, REWARD], 2 + taken[:, OBSERVATION][:, 1])
        terminated = (taken[:, OBSERVATION] % [2, 3] == [1, 2]).all(axis=1)
        np.testing.assert_array_equal(taken[:, DISCOUNT], np.where(terminated, 0.0, 1.0))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_every_step_ends_one_sequence(mode: AutoresetMode) -> None:
    """The first steps of an environment are exceptions: too few steps come before them."""
    ends = [tuple(frames[-1, OBSERVATION]) for frames in collected(mode, length=4, n=80)]
    steps, counts = np.unique(ends, axis=0, return_counts=True)
    whole = counts[steps[:, 0] < 10]
    assert tuple(steps[0]) == (1, 1)  # two frames from the first episode's end, where a sequence of four steps begins
    np.testing.assert_array_equal(whole, 2)  # two environments
    assert set(steps[:, 1]) == {1, 2, 3}


def episodes(policy: Any, steps: int) -> tuple[AnyArray, AnyArray, AnyArray, Sequence[PolicyState]]:
    """Observations, where episodes begin, actions and states of a numpy policy in three environments."""
    environments = find_domain("rlway/CartPolePositions-v0").make_many(3)
    observation, begins = environments.reset(5), np.ones(3, np.bool_)
    state: PolicyState = ()
    seen = []
    for _ in range(steps):
        actions, state = policy(observation, state)
        seen.append((observation, begins, actions, state))
        step = environments.step(actions)
        observation, begins, state = step.observation, step.begins, reset_state(state, step.begins)
    *columns, states = zip(*seen, strict=True)
    observations, begun, chosen = (np.stack(column) for column in columns)
    return observations, begun, chosen, states


def test_the_numpy_policy_the_exported_one_and_the_agents_own_are_the_same(either: RecurrentDqnLearner) -> None:
    """In three environments whose episodes begin at different times."""
    learning = either
    observations, begun, chosen, states = episodes(learning.policy(), 120)
    assert (begun[1:].any(axis=0)).all()
    assert (begun.sum(axis=1) == 1).any()
    act, state = learning.act(), learning.agent.policy.get_initial_state(3)
    # What an episode that is over left behind must not matter.
    exported = [np.full((3, *spec.shape), np.nan, np.float32) for spec in learning.state]
    for observation, begins, actions, kept in zip(observations, begun, chosen, states, strict=True):
        out = act(observation, np.zeros((3, 2), np.float32), *exported, begins)
        exported = [out[spec.name] for spec in learning.state]
        types = tf.constant(np.where(begins, StepType.FIRST, StepType.MID))
        own = learning.agent.policy.action(
            TimeStep(types, tf.zeros([3]), tf.ones([3]), tf.constant(observation)), state
        )
        state = own.state
        np.testing.assert_array_equal(out["action"], own.action)
        np.testing.assert_array_equal(actions, own.action)
        for one, other, third in zip(exported, state, kept, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
            np.testing.assert_allclose(third, other, atol=1e-5)


def test_the_numpy_q_values_are_the_networks(either: RecurrentDqnLearner) -> None:
    """Over a whole sequence at once, through TF-Agents' own unrolling."""
    observations = np.random.default_rng(1).normal(size=(9, 12, 2)).astype(np.float32) * 3
    expected, _ = either._network(observations, step_type=np.full((9, 12), StepType.MID))
    policy = either.policy()
    state: PolicyState = ()
    for t in range(12):
        q_values, state = policy.q_values(observations[:, t], state)
        np.testing.assert_allclose(q_values, expected[:, t], atol=1e-5)


def test_differences_are_those_of_successive_observations_by_their_root_mean_square() -> None:
    """What the network behind them is given, step by step. An episode begins at the fourth step."""
    made = learner(differences=True)
    frames = sequences(3)
    frames[:, 3, 0] = FIRST
    made.write(flat(frames))
    observed = frames[..., OBSERVATION]
    changes = np.diff(observed, axis=1, prepend=observed[:, :1])
    changes[:, 3] = 0.0
    taken = np.delete(changes, [0, 3], axis=1)
    given: list[Any] = []
    inner = made._network._inner

    def noting(inputs: Any, **rest: Any) -> Any:
        given.append(inputs)
        return inner(inputs, **rest)

    made._network._inner = noting
    made._network(observed, step_type=frames[..., 0].astype(np.int32))
    expected = np.concatenate((observed, changes / np.sqrt(np.square(taken).mean(axis=(0, 1)))), axis=-1)
    np.testing.assert_allclose(given[0], expected, atol=1e-5)


def test_both_networks_of_a_target_begin_a_sequence_in_the_same_way(either: RecurrentDqnLearner) -> None:
    """With equal networks, the value of the action that one chooses is the other's largest."""
    either.copy_target()
    following = transition(either, sequences(0)).next_time_step
    values = either.agent._compute_next_q_values(following, ())
    q_values, _ = either._network(following.observation, step_type=following.step_type)
    np.testing.assert_allclose(values, tf.reduce_max(q_values, axis=-1)[:, 1:], atol=1e-5)


def test_one_exported_step_has_no_loop(either: RecurrentDqnLearner) -> None:
    """No sequence layer's While or TensorList, which exporters and small runtimes do not take."""
    graph = either.act().get_concrete_function().graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert "MatMul" in kinds
    assert [kind for kind in kinds if "While" in kind or "Tensor" in kind or "Call" in kind] == []


def loss(learning: RecurrentDqnLearner, frames: AnyArray) -> float:
    """The loss of an update over these sequences."""
    return float(learning.agent.loss(transition(learning, frames)).loss)


def transition(learning: RecurrentDqnLearner, frames: AnyArray) -> Transition:
    return learning._transition(tf.constant(flat(frames)))


def pay(frames: AnyArray, step: int) -> AnyArray:
    """The same sequences with a large reward at one step."""
    paid = frames.copy()
    paid[:, step, REWARD] = 50.0
    return paid


@pytest.mark.parametrize("step", range(LENGTH))
def test_burn_in_steps_are_not_learned_from(step: int, learning: RecurrentDqnLearner) -> None:
    """Their rewards do not change the loss; those of other steps do."""
    frames = sequences(0)
    assert (loss(learning, pay(frames, step)) == loss(learning, frames)) == (step < BURN_IN)


def test_an_episode_that_begins_within_a_sequence_is_learned_from_its_first_step_on(
    learning: RecurrentDqnLearner,
) -> None:
    """Its state is then the same as when the policy acts. The boundary itself pays nothing."""
    frames = sequences(0)
    frames[:, 0, 0], frames[:, 1, 0] = LAST, FIRST
    assert loss(learning, pay(frames, 0)) == loss(learning, frames)
    assert loss(learning, pay(frames, 1)) > loss(learning, frames)


def test_an_episode_that_begins_a_sequence_is_learned_from_its_first_step_on(learning: RecurrentDqnLearner) -> None:
    """The target network has then observed that step, too: the first observation changes the value of the second."""
    frames = sequences(0)
    frames[:, 0, 0] = FIRST
    assert loss(learning, pay(frames, 0)) > loss(learning, frames)
    frames[:, 0, REWARD], frames[:, 2:, 0] = 0.0, LAST  # but for the first step nothing is learned from
    changed = frames.copy()
    changed[:, 0, OBSERVATION] += 1.0
    values = [
        learning.agent._compute_next_q_values(transition(learning, f).next_time_step, ()) for f in (frames, changed)
    ]
    assert (values[0][:, 0] != values[1][:, 0]).numpy().all()


@pytest.mark.parametrize("n", [2, 3])
def test_rewards_are_summed_over_n_steps_of_an_episode_and_skipped_where_it_was_truncated(n: int) -> None:
    """The sum and the discount at each step of an episode whose three steps pay 2, 3 and 4."""
    gamma, length = 0.5, 7
    learning = learner(n_step=n, gamma=gamma, sequence_length=length, burn_in=0, batch_size=60)
    frames = collected(AutoresetMode.NEXT_STEP, length, 60)
    made = transition(learning, frames)
    learned, reward, discount = (
        part.numpy()
        for part in (made.time_step.step_type != StepType.LAST, made.time_step.reward, made.time_step.discount)
    )
    assert learned.shape == (60, length + 1 - n)
    for row, at in np.ndindex(*learned.shape):
        episode, step = frames[row, at, OBSERVATION].astype(int)
        ends, terminates = step + n > 3, episode % 2 == 1
        assert learned[row, at] == (step < 3 and (terminates or not ends))
        if learned[row, at]:
            pays = [2 + ahead for ahead in range(step, min(step + n, 3))]
            assert reward[row, at] == pytest.approx(sum(gamma**k * pay for k, pay in enumerate(pays)))
            assert discount[row, at] == (0.0 if terminates and step + n >= 3 else gamma ** (n - 1))


def test_dicts_and_normalised_numbers_are_learned_from_as_vectors_are() -> None:
    """Both have the same loss over the same sequences, and the exported function returns the same, differences too."""
    leaves = [TensorSpec(f"observation_{key}", (1,), "float32", path=(key,)) for key in ("angle", "cart")]
    settings = DqnSettings(**(SETTINGS | {"normalize": True, "differences": True}))
    frames = sequences(0)
    frames[..., OBSERVATION] = frames[..., OBSERVATION] * [1.0, 100.0] + [0.0, 1000.0]
    replay = make_replay(settings, COLUMNS.width)
    vectors, dicts = (
        RecurrentDqnLearner(settings, replace(DOMAIN, leaves=of), 1, replay) for of in (DOMAIN.leaves, leaves)
    )
    for one, other in zip(vectors._network.trainable_variables, dicts._network.trainable_variables, strict=True):
        other.assign(one)
    losses = []
    for learning in (vectors, dicts):
        learning.copy_target()
        learning.write(flat(frames))
        losses.append(loss(learning, frames))
    assert losses[0] == pytest.approx(losses[1])
    rows, state = frames[:, 0, OBSERVATION], [np.zeros((BATCH, *spec.shape), np.float32) for spec in dicts.state]
    out = dicts.act()(
        {"angle": rows[:, :1], "cart": rows[:, 1:]}, np.zeros((BATCH, 2)), *state, np.ones(BATCH, np.bool_)
    )
    np.testing.assert_allclose(out["q_values"], dicts.policy().q_values(rows)[0], atol=1e-5)


def test_an_episode_does_not_depend_on_the_one_before(either: RecurrentDqnLearner) -> None:
    """Other observations in the episode before do not change the loss; within the episode they do."""
    within, across = sequences(0), sequences(0)
    across[:, 1, 0], across[:, 2, 0] = LAST, FIRST
    for frames, same in ((across, True), (within, False)):
        changed = frames.copy()
        changed[:, 0:2, OBSERVATION] += 1.0
        assert (loss(either, frames) == loss(either, changed)) == same


def test_compiled_updates_over_sequences_are_the_uncompiled_ones() -> None:
    """XLA changes the speed of a block, not what it learns."""
    compiled, plain = learner(xla=True), learner(xla=False)
    frames = sequences(0)
    frames[::3, 2, 0], frames[::3, 3, 0] = LAST, FIRST
    losses = [[agent.learn(flat(frames), 0) for _ in range(2)] for agent in (compiled, plain)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    for one, other in zip(compiled.policy().layers, plain.policy().layers, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def learned(lstm: int) -> float:
    """The mean return in the recall game after a few seconds of training."""
    domain = find_domain("rlway-tests/Recall-v0")
    changes = {"hidden": (16,), "lstm": lstm, "block_steps": 32, "block_iterations": 16, "epsilon_steps": 1_500}
    settings = DqnSettings(**(SETTINGS | changes | {"target_period": 20, "loss": "squared"}))
    learning = make_learner(settings, domain, seed=1)
    collector = LocalCollector(domain.make_many(4), 0, make_adder(settings, domain, 4))
    learning.replay.write(collector.collect(learning.random, 200))
    for block in range(80):
        learning.learn(collector.collect(learning.exploring(block * 32), 32), 0)
    return Evaluator(domain.make_many(20)).evaluate(learning.policy(), 200, seed=0).mean_return


def test_a_recurrent_policy_uses_what_it_observed_three_steps_ago() -> None:
    """A policy without state is right half of the time."""
    assert learned(lstm=8) > 0.95
    assert 0.35 < learned(lstm=0) < 0.65


@pytest.fixture(scope="module")
def recurrent_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training of a recurrent policy."""
    folder = tmp_path_factory.mktemp("runs") / "recurrent_run"
    rlway_train.train(
        preset="cartpole-rnn",
        run=folder,
        lstm=8,
        steps=1500,
        eval_every=500,
        eval_episodes=4,
        confirm_episodes=0,
        final_episodes=4,
        xla=False,
        block_iterations=4,
        log_every=8,
        log=lambda _: None,
    )
    return folder


def test_the_run_of_a_recurrent_policy_has_every_file_and_names_its_state(recurrent_run: Path) -> None:
    """No file of another run is missing."""
    run = read_run(recurrent_run)
    assert [(spec.name, spec.label) for spec in run.state] == [
        ("state_h", "float32[8]"), ("state_c", "float32[8]"), ("last_observation", "float32[2]"),
        ("has_last_observation", "float32[1]"),
    ]  # fmt: skip
    assert run.hyperparameters["lstm"] == 8
    assert {path.name for path in recurrent_run.iterdir()} == {
        "job.json", "run.json", "policies", "train", "evaluations.csv", "learning_curve.png", "training_curve.png",
        "trained.mp4", "random.mp4", "observations.npz",
    }  # fmt: skip


def test_the_loss_of_a_recurrent_policy_is_logged_as_any_other(recurrent_run: Path) -> None:
    """Blocks have 4 updates and 64 steps: every other block is logged."""
    told = {step for step, _ in read_scalars(recurrent_run)["training/loss"]}
    assert {1_000 + 64 * block for block in (2, 4, 6, 8)} <= told


def test_the_saved_policy_takes_and_returns_its_state(recurrent_run: Path) -> None:
    """The state changes the Q-values, except where an episode begins."""
    saved = tf.saved_model.load(str(recurrent_run / "policies/greedy_policy"))
    observation, noise = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
    state = [np.zeros((2, n), np.float32) for n in (8, 8, 2, 1)]
    first = saved.act(observation, noise, *state, np.zeros(2, np.bool_))
    kept = [first[name] for name in ("state_h", "state_c", "last_observation", "has_last_observation")]
    second = saved.act(observation, noise, *kept, np.array([False, True]))
    assert (second["q_values"] != first["q_values"]).numpy().all(axis=1).tolist() == [True, False]
    np.testing.assert_array_equal(second["q_values"][1], first["q_values"][1])
    np.testing.assert_array_equal(first["action"], np.argmax(first["q_values"], axis=1))
