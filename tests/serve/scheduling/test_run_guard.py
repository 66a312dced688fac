"""The guard in a server's runs gives what docs/guard.md says, to the bit, whatever runs together."""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlway_client.contract.errors import ActionRefused, RlwayError
from rlway_client.contract.guard import ActionLimits, Guard, Violations
from rlway_client.contract.guarding import ActionGuard
from rlway_client.contract.parity import Arrays
from rlway_client.contract.specs import TensorSpec
from rlway_serve.backends.select import open_runtime
from rlway_serve.codec.decoder import ActDecoder
from rlway_serve.messages.call import Call, PlainCall, PolicyState
from rlway_serve.messages.response import Response
from rlway_serve.scheduling.batch_runner import BatchRunner
from rlway_serve.scheduling.run_guard import RunGuard
from rlway_serve.settings import Settings
from rlway_serve.telemetry.drift import Drift
from rlway_serve.telemetry.guards import GuardCounts
from tests.callers import Receiving
from tests.clients.contract.generated import THOROUGH
from tests.guards import Actions, Case, Judged, Step, guard_cases, judge
from tests.replaying import replaying_policy

EPISODES = (1, 1, 2)  # how many environments each has


class Clock:
    """The time that a test says it is."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Kept:
    """A protocol whose answers are the arrays themselves."""

    def __init__(self) -> None:
        self.results: Arrays = {}
        self.violated: Violations = {}
        self.error: RlwayError | None = None

    def write(self, results: Arrays, violated: Violations) -> Response:
        self.results = {name: array.copy() for name, array in results.items()}
        self.violated = violated
        return Response(200, b"", b"")

    def refuse(self, error: RlwayError) -> Response:
        self.error = error
        return Response(error.http, b"", b"")


class Rows(PlainCall, gc=False, eq=False):
    """A plain call of one row as octets."""


class Guarded:
    """A policy that replays the actions of a case, and its guard."""

    def __init__(self, case: Case) -> None:
        self.clock, self.counts = Clock(), GuardCounts()
        tables = {spec.name: np.stack([step.actions[spec.name] for step in case.steps]) for spec in case.specs}
        settings = Settings(models=Path(), max_batch=8)
        with TemporaryDirectory() as folder:
            bundle = replaying_policy(Path(folder), case.specs, tables, case.guard)
            runtime = open_runtime(bundle, settings)
        guard = RunGuard(ActionGuard(case.guard, case.specs), "replaying", self.counts, self.clock)
        decoder = ActDecoder(bundle.manifest, settings)
        self.runner = BatchRunner(bundle.manifest, runtime, decoder, Drift(bundle.manifest), guard)


def bits(actions: Arrays) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in actions.items()}


@THOROUGH
@given(guard_cases())
def test_steps_of_several_episodes_run_together_and_are_judged_apart(case: Case) -> None:
    """Each environment of each episode has its own action before, its own time, its own verdict."""
    policy, steps = Guarded(case), len(case.steps)
    states = [PolicyState(rows) for rows in EPISODES]
    before: list[list[Actions] | None] = [None] * len(EPISODES)
    given_s = [0.0] * len(EPISODES)
    for i, step in enumerate(case.steps):
        policy.clock.now_s += step.elapsed_s
        calls, expected = [], []
        for k, rows in enumerate(EPISODES):
            places = [(i + k + row) % steps for row in range(rows)]
            call = Call(np.array(places), rows, Receiving(), batched=True)
            call.state, call.first, call.reply = states[k], step.first, Kept()
            calls.append(call)
            known = None if step.first else before[k]
            elapsed_s = policy.clock.now_s - given_s[k]
            expected.append(
                [
                    judge(case, case.steps[place], None if known is None else known[row], elapsed_s)
                    for row, place in enumerate(places)
                ]
            )
        responses = policy.runner.run(calls)
        for k, (call, response, judged) in enumerate(zip(calls, responses, expected, strict=True)):
            assert isinstance(call.reply, Kept)
            given = [one.actions for one in judged if one.actions is not None]
            if len(given) < len(judged):
                assert (response.status, type(call.reply.error)) == (422, ActionRefused)
                continue
            assert response.status == 200
            stacked = {spec.name: np.stack([actions[spec.name] for actions in given]) for spec in case.specs}
            assert bits(call.reply.results) == bits(stacked)
            assert {name: {*rules} for name, rules in call.reply.violated.items()} == together(judged)
            before[k], given_s[k] = given, policy.clock.now_s


def together(judged: list[Judged]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in judged:
        for name, rules in one.violated.items():
            found[name] = found.get(name, set()) | rules
    return found


@THOROUGH
@given(guard_cases().filter(lambda case: len(case.specs) == 1), st.booleans())
def test_plain_calls_are_judged_as_an_episode_of_one_step(case: Case, raw: bool) -> None:
    """Their answers say what was violated: JSON in `guarded`, octets in a header."""
    policy, (spec,) = Guarded(case), case.specs
    calls = [
        Rows(None, time.perf_counter(), np.int64(i).tobytes() if raw else i, raw=raw) for i in range(len(case.steps))
    ]
    for step, response in zip(case.steps, policy.runner.run_plain(calls), strict=True):
        expected = judge(case, step, None, 0.0)
        if expected.actions is None:
            assert response.status == 422
            continue
        if raw:
            assert response.body == expected.actions["action"].tobytes()
            told = json.loads(dict(response.headers).get(b"rlway-guarded", b"{}"))
        else:
            answer = json.loads(response.body)
            assert np.array_equal(np.array(answer["action"], spec.dtype), expected.actions["action"])
            told = answer.get("guarded", {})
        assert {name: {*rules} for name, rules in told.items()} == expected.violated


def test_a_row_that_is_not_finite_is_judged_by_itself() -> None:
    """The rows beside it keep their actions, and every violation is counted once."""
    spec = TensorSpec("action", (), "float32")
    limits = ActionLimits(maximum=1.0, safe=0.5)
    actions = [0.0, np.nan, 2.0, np.inf]
    case = Case([spec], Guard(schema_version=1, actions={"action": limits}), [])
    steps = [case_step(action) for action in actions]
    policy = Guarded(case._replace(steps=steps))
    calls = [Call(np.array([i]), 1, Receiving(), batched=True) for i in range(4)]
    answers = [json.loads(response.body) for response in policy.runner.run(calls)]
    assert [answer["actions"] for answer in answers] == [[0.0], [0.5], [1.0], [0.5]]
    assert "guarded" not in answers[0]
    assert answers[3]["guarded"] == [{"action": ["non_finite", "out_of_range"]}]
    (family,) = policy.counts.collect()
    found = {(*sample.labels.values(),): sample.value for sample in family.samples}
    assert found == {
        ("replaying", "action", "non_finite"): 2,
        ("replaying", "action", "out_of_range"): 2,
    }


def case_step(action: float) -> Step:
    return Step({"action": np.array(action, np.float32)}, 0.0, False)
