"""Makes the environment that a name stands for.

In:      what a module has under that name: a class, or a function without arguments that makes an environment.
Out:     `Maker`, which gymnasium takes as an entry point; it makes a gymnasium.Env, also of TF-Agents' environments.
Refuses: an environment that exists already, one that needs arguments, several environments in one, and anything that
         makes no environment (EnvironmentFault, which says what to name in its place).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

from rlway_client.common.packages import TRAINING, missing
from rlway_client.contract.errors import EnvironmentFault, UsageError
from rlway_client.envs.py_environment import Adapted, derives_from, is_tf_agents, wraps_tf_agents

KINDS = "a class derived from gymnasium.Env or TF-Agents' PyEnvironment"
TENSORFLOW = ("tensorflow", "tf_agents")


def is_environment(value: Any) -> bool:
    """Whether it is a class of environments that is neither gymnasium's nor TF-Agents' own."""
    if not isinstance(value, type) or inspect.isabstract(value):
        return False
    return _makes_environments(value) and value.__module__.split(".")[0] not in ("gymnasium", "tf_agents")


class Maker:
    """Makes an environment when called without arguments, or with gymnasium's: render_mode and the registered ones."""

    def __init__(self, name: str, found: Any, registered: Mapping[str, Any] | None = None) -> None:
        """`name` is what error messages call it. Raises EnvironmentFault if `found` cannot make environments."""
        self._name, self._found = name, _checked(name, found, registered or {})
        # gymnasium reads a class's render modes here; those of a wrapper or a function are known only after a call.
        metadata = getattr(found, "metadata", None)
        if isinstance(metadata, dict):
            self.metadata = metadata

    def __deepcopy__(self, memo: Any) -> Maker:
        return self

    def __call__(self, **options: Any) -> gymnasium.Env[Any, Any]:
        try:
            made = self._found(**options)
        except ModuleNotFoundError as error:
            explain_missing(self._name, error)
            raise
        except RuntimeError as error:
            if "multiprocessing context" not in str(error):  # of ParallelPyEnvironment
                raise
            raise EnvironmentFault(
                "a ParallelPyEnvironment starts processes of its own; name the class or function that it is given, "
                "and choose how many there are with --envs."
            ) from error
        if isinstance(made, gymnasium.Env):
            if not isinstance(made.metadata, dict):
                raise EnvironmentFault(f"metadata: expected a dict, got a {type(made.metadata).__name__}.")
            return made
        if is_tf_agents(type(made)):
            return Adapted(made)
        if isinstance(made, gymnasium.vector.VectorEnv):
            raise EnvironmentFault(_VECTOR)
        raise EnvironmentFault(f"expected that it makes an environment, got {_described(made)}; return one.")


_VECTOR = "many environments in one; name the class or function of a single one, and choose how many with --envs."


def explain_missing(what: str, error: ModuleNotFoundError) -> None:
    """Raises UsageError if TensorFlow or TF-Agents is missing: it says where such an environment can be played."""
    package = (error.name or "").split(".")[0]
    if package in TENSORFLOW:
        raise UsageError(missing(what, package, "rlway-train", TRAINING)) from error


def _checked(name: str, found: Any, registered: Mapping[str, Any]) -> Callable[..., Any]:
    """Returns `found` if a call of it can make an environment. Raises EnvironmentFault if not."""
    if isinstance(found, type) and issubclass(found, gymnasium.vector.VectorEnv):
        raise EnvironmentFault(f"{name}: {_VECTOR}")
    if isinstance(found, gymnasium.Env | gymnasium.vector.VectorEnv) or is_tf_agents(type(found)):
        raise EnvironmentFault(
            f"{name}: is an environment already, and several are needed; name its class, or a function that makes one: "
            f"`def make(): return {type(found).__name__}(…)`."
        )
    if not callable(found) or (isinstance(found, type) and not _makes_environments(found)):
        raise EnvironmentFault(
            f"{name}: expected {KINDS}, or a function that makes such an environment, got "
            f"{_described(found)}{_remedy(found)}."
        )
    needed = [one for one in _needed(found) if one not in registered]
    if needed:
        raise EnvironmentFault(f"{name}: {_needs(found, needed)}")
    makes: Callable[..., Any] = found
    return makes


def _makes_environments(kind: type) -> bool:
    return issubclass(kind, gymnasium.Env) or is_tf_agents(kind)


def _needed(found: Any) -> list[str]:
    """The arguments without a default."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return []
    given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in given]


def _needs(found: Any, names: list[str]) -> str:
    if isinstance(found, type) and (issubclass(found, gymnasium.Wrapper) or wraps_tf_agents(found)):
        return (
            f"wraps an environment, and is given none; name a function that does: "
            f"`def make(): return {found.__name__}(YourEnv())`."
        )
    return (
        f"cannot be called without {', '.join(names[:4])}; name a function that gives it: "
        f"`def make(): return {getattr(found, '__name__', 'f')}(…)`."
    )


def _described(value: Any) -> str:
    return f"class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _remedy(found: Any) -> str:
    if derives_from(found, "gym.core.Env"):
        return (
            f" of the old gym; derive it from gymnasium.Env, or name a function: "
            f"`def make(): return tf_agents.environments.gym_wrapper.GymWrapper({found.__name__}())`"
        )
    return ""
