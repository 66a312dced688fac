"""The function of a user that builds an agent.

In:      its name, `module:function` or `file.py:function`, or the function itself.
Out:     the agent, built once.
Refuses: a name that is no text or stands for no function, a function that fails or returns something else (UsageError).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cached_property
from typing import Any

from rlway_client.common.quote import clipped, reason
from rlway_client.contract.errors import EnvironmentFault, UsageError
from rlway_client.envs.find import load_code, sentence

RETURNS = "name a function without arguments that returns a TFAgent"


class AgentCode:
    """The code runs when the agent is asked for."""

    def __init__(self, function: str | Callable[[], Any]) -> None:
        self._function = function
        self.name = function if isinstance(function, str) else getattr(function, "__name__", "agent")
        try:
            self.name.encode()
        except UnicodeEncodeError:  # the manifest names it, and is JSON
            raise UsageError(f"--agent {ascii(self.name)[:100]}: expected a name in UTF-8; rename it.") from None
        source, _, attribute = self.name.rpartition(":")
        if isinstance(function, str) and not (source and attribute):
            raise UsageError(f"--agent {clipped(function)}: expected module:function or file.py:function.")

    @cached_property
    def agent(self) -> Any:
        """The agent, with its variables initialised."""
        from tf_agents.agents.tf_agent import TFAgent

        found = self._find() if isinstance(self._function, str) else self._function
        try:
            with redirect_stdout(sys.stderr):  # what it prints is no result of the command
                agent = found if isinstance(found, TFAgent) else found()
                if isinstance(agent, TFAgent):
                    agent.initialize()
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise UsageError(f"--agent {self.name}: raised {clipped(sentence(error))}; {RETURNS}.") from error
        if not isinstance(agent, TFAgent):
            raise UsageError(f"--agent {self.name}: expected a TFAgent, got {type(agent).__name__}; {RETURNS}.")
        return agent

    def _find(self) -> Any:
        source, _, attribute = self.name.rpartition(":")
        try:
            with redirect_stdout(sys.stderr):
                module = load_code(source)
        except EnvironmentFault as error:
            raise UsageError(f"--agent {reason(str(error), most=240)}.") from error
        found = getattr(module, attribute, None)
        if found is None:
            raise UsageError(f"--agent {self.name}: {source} has no {attribute!r}; {RETURNS}.")
        if not callable(found) and not hasattr(found, "policy"):
            raise UsageError(f"--agent {self.name}: expected a function, got {type(found).__name__}; {RETURNS}.")
        return found
