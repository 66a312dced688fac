"""An environment that DQN or SAC can learn: its specs, and how to make it.

In:      an environment's name, and the settings that change it.
Out:     `Domain`, which makes one environment, or several that step together.
Refuses: EnvironmentFault for an environment that is unknown, cannot be made, or cannot be learned by the algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from rlway_client.contract.errors import EnvironmentFault, UsageError
from rlway_client.contract.meaning import Meaning, check_meaning
from rlway_client.contract.specs import TensorSpec
from rlway_client.envs.find import find_environment, sentence
from rlway_client.envs.frame_stack import FrameStack
from rlway_client.envs.meanings import find_meaning, without
from rlway_train.config.convolutions import network_for
from rlway_train.config.settings import DqnSettings, SacSettings, TrainingSettings
from rlway_train.envs.learnable import continuous_action, discrete_action, image_leaf, observation_leaves
from rlway_train.envs.spaces import OneVector, image_shape, is_one_vector, one_vector
from rlway_train.envs.vector import Environments
from rlway_train.envs.wrappers import DiscreteActions, FlatActions, FromZero, OneEpisode


@dataclass(frozen=True)
class Domain:
    """An environment that can be learned: its name, and the specs of its observations and actions."""

    env: str
    spec: EnvSpec = field(repr=False)
    leaves: list[TensorSpec]  # the tensors of an observation, as the environment gives it
    action: TensorSpec  # as the environment takes it: discrete actions need not count from 0
    discretize: int | None
    action_values: list[float] | None  # with `discretize`: the value behind each action
    frame_stack: int = 1  # how many frames are one observation
    is_image: bool = False  # the observation is one image, of bytes or bits
    meaning: Meaning | None = field(default=None, repr=False)  # of its numbers, if it says so

    @property
    def max_episode_steps(self) -> int | None:
        return self.spec.max_episode_steps

    @property
    def reward_threshold(self) -> float | None:
        return self.spec.reward_threshold

    @property
    def observation(self) -> TensorSpec:
        """The observation as one vector, as it is collected: float32, or the bytes of an image."""
        return one_vector(self.leaves, self.is_image)

    @property
    def obs_dim(self) -> int:
        return self.observation.size

    @property
    def n_actions(self) -> int:
        """How many discrete actions there are."""
        lowest, highest = (int(bound.item()) for bound in self.action.bounds())
        return highest - lowest + 1

    @property
    def first_action(self) -> int:
        """The environment's number for its first discrete action. Agents count from 0."""
        return int(self.action.bounds()[0].item())

    def make(self, render: bool = False) -> gymnasium.Env[Any, Any]:
        """One environment as agents see it: it gives one vector, and takes a vector, or a number from 0."""
        # The argument is left out where it is not needed: a user's own class may not have it.
        modes: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
        env = gymnasium.make(self.spec, disable_env_checker=True, **modes)
        if self.frame_stack > 1:
            env = FrameStack(self.env, env, self.frame_stack)
        if not is_one_vector(self.leaves):
            env = OneVector(env, self.leaves, self.observation)
        if self.discretize is not None:
            return DiscreteActions(env, self.discretize)
        if self._takes_plain_actions:
            return env
        return FromZero(env, self.action) if self.action.is_discrete else FlatActions(env)

    def make_many(self, n: int, one_episode: bool = False) -> Environments:
        """`n` environments that step together: in the environment's own vectorised form, where it has one.

        With `one_episode`, environments without such a form do nothing after their first episode. This saves steps
        if the caller resets all of them with a seed and uses one episode of each.
        """
        if self.spec.vector_entry_point is not None and self._needs_no_wrapper:
            vector = gymnasium.make_vec(self.spec, n, vectorization_mode="vector_entry_point")
            if vector.metadata.get("autoreset_mode") in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
                return Environments(self.env, vector, self.observation)
            vector.close()
        make = (lambda: OneEpisode(self.make())) if one_episode else self.make
        return Environments(self.env, gymnasium.vector.SyncVectorEnv([make] * n), self.observation)

    @property
    def _needs_no_wrapper(self) -> bool:
        """Whether it needs no wrapper."""
        is_plain = self.frame_stack == 1 and self.discretize is None
        return is_plain and is_one_vector(self.leaves) and self._takes_plain_actions

    @property
    def _takes_plain_actions(self) -> bool:
        """Whether it takes actions as agents give them: a number from 0, or a vector of floats."""
        rank = len(self.action.shape)
        return (rank == 0 and self.first_action == 0) if self.action.is_discrete else rank == 1


def find_domain(
    env: str,
    discretize: int | None = None,
    time_limit: int | None = None,
    continuous: bool = False,
    frame_stack: int = 1,
    is_image: bool = False,
) -> Domain:
    """The environment of this name. It must be one that DQN can learn, or SAC with `continuous`.

    `time_limit`, in steps, replaces the environment's own. With `is_image`, the observation must be one image.
    """
    spec = find_spec(env, time_limit)
    one = make_one(env, spec, discretize)
    try:
        values = one.values.ravel().tolist() if isinstance(one, DiscreteActions) else None
        shown = one if frame_stack == 1 else FrameStack(env, one, frame_stack)
        leaves = [image_leaf(env, shown)] if is_image else observation_leaves(env, shown)
        action = (continuous_action if continuous else discrete_action)(env, one)
        changed = [*(leaves if frame_stack > 1 else []), *([action] if discretize else [])]
        return Domain(
            env=env,
            spec=spec,
            leaves=leaves,
            action=action,
            discretize=discretize,
            action_values=values,
            frame_stack=frame_stack,
            is_image=is_image,
            meaning=_meaning(env, one, [*leaves, action], action, changed),
        )
    finally:
        one.close()


def _meaning(
    env: str, one: gymnasium.Env[Any, Any], specs: list[TensorSpec], action: TensorSpec, changed: list[TensorSpec]
) -> Meaning | None:
    """What the numbers of an environment stand for. `changed` are tensors that settings make different."""
    meaning = find_meaning(env, one.unwrapped.metadata)
    if meaning is None:
        return None
    meaning = without(meaning, changed)
    try:
        check_meaning(meaning, specs, [action])
    except ValueError as error:
        raise EnvironmentFault(f'{env}: metadata["meaning"]: {error}.') from None
    return meaning


def domain_of(env: str, settings: TrainingSettings) -> Domain:
    """The environment of this name, changed as the settings say. Their algorithm must be able to learn it."""
    if not isinstance(settings, DqnSettings):
        return find_domain(env, time_limit=settings.time_limit, continuous=isinstance(settings, SacSettings))
    is_image = settings.conv is not None
    domain = find_domain(
        env, settings.discretize, settings.time_limit, frame_stack=settings.frame_stack, is_image=is_image
    )
    if is_image:
        height, width, _ = image_shape(*domain.leaves)
        network_for(settings, height, width)  # raises UsageError if its layers do not fit
    return domain


def find_spec(env: str, time_limit: int | None = None) -> EnvSpec:
    """The environment of this name, whatever its spaces. `time_limit`, in steps, replaces its own."""
    spec = find_environment(env)
    return spec if time_limit is None else replace(spec, max_episode_steps=time_limit)


def make_one(env: str, spec: EnvSpec, discretize: int | None) -> gymnasium.Env[Any, Any]:
    """One environment. What its constructor raises becomes an EnvironmentFault."""
    try:
        one = gymnasium.make(spec, disable_env_checker=True)
    except UsageError:  # what it needs is not installed
        raise
    except Exception as error:
        raise EnvironmentFault(f"{env}: could not be made: {sentence(error)}") from error
    return one if discretize is None else DiscreteActions(one, discretize)
