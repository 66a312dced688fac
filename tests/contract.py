"""Sends a server requests that its OpenAPI document allows and forbids, and compares the answers with the document.

In:      how many requests, a seed.
Out:     how many answers had which status. The exit status is 1, and the requests are printed, where a status is 5xx,
         or where status, media type, headers or body are not as documented.

    python -m tests.contract --requests 20000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from tests.bundles import gaussian_policy, linear_policy, robot_policy, summing_policy
from tests.rewarded import rewarded_policy
from tests.servers import Server, running_server
from tests.steered import steered_policy

POLICIES = ("linear", "gaussian", "robot", "summing", "steered", "rewarded")
KEY, ADMIN_KEY = "correct-horse", "battery-staple"
DOCUMENTED_5XX = {503: {"/readyz"}, 504: {"/act", "/v1/policies/{policy}/act"}}
# The document cannot say what each policy's own spec refuses, and `adapt` sends keys of its own.
NOT_CHECKED = [positive_data_acceptance, negative_data_rejection, ignored_auth]
MAX_FAILURES = 20
NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.integers(-1000, 1000))
SOUND = st.one_of(
    st.lists(NUMBERS, min_size=4, max_size=4),
    st.fixed_dictionaries(
        {
            "camera": st.lists(st.integers(0, 255), min_size=2, max_size=2),
            "joints": st.fixed_dictionaries({"arm": st.lists(NUMBERS, min_size=3, max_size=3)}),
        }
    ),
)


class Findings:
    """What was observed."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.operations: Counter[str] = Counter()
        self.failures: list[str] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rlway-contract-") as folder:
        models = make_policies(Path(folder))
        with running_server(models, Path(folder) / "log", *key_options(Path(folder))) as server:
            began_s = time.perf_counter()
            findings = ask_by_document(server, options.requests, options.seed)
            wall_s = round(time.perf_counter() - began_s, 1)
            traceback = "Traceback" in server.log.read_text()
            stopped = server.stop()
    report = {
        "requests": sum(findings.statuses.values()),
        "statuses": {str(status): count for status, count in sorted(findings.statuses.items())},
        "operations": dict(findings.operations),
        "wall_s": wall_s,
        "failures": len(findings.failures),
        "traceback": traceback,
        "exit": stopped,
    }
    print(json.dumps(report))
    for failure in findings.failures:
        print(failure[:2000], file=sys.stderr)
    sys.exit(bool(findings.failures or traceback or stopped))


def make_policies(folder: Path) -> Path:
    """Makes one policy of each kind."""
    models = folder / "models"
    for policy in (linear_policy, gaussian_policy, robot_policy, summing_policy, steered_policy, rewarded_policy):
        policy(models)
    return models


def key_options(folder: Path) -> list[str]:
    """Options that require keys of both scopes, and name the default policy."""
    (folder / "keys").write_text(KEY)
    (folder / "admin-keys").write_text(ADMIN_KEY)
    keys = ["--api-keys", str(folder / "keys"), "--admin-keys", str(folder / "admin-keys")]
    return [*keys, "--default", "linear"]


def ask_by_document(server: Server, count: int, first_seed: int) -> Findings:
    """Sends requests to every operation, most of them to the act routes; stops after MAX_FAILURES failures."""
    findings = Findings()
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations: list[Any] = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert operations
    with requests.Session() as session:
        for operation in operations:
            acts = operation.path in DOCUMENTED_5XX[504]
            # There are few different requests to a route without a parameter.
            share = 0.4 if acts else 0.06 if "{policy}" in operation.path else 0.02
            for mode in schemathesis.GenerationMode:
                ask_operation(session, operation, mode, max(1, int(count * share / 2)), first_seed, findings)
    return findings


def ask_operation(
    session: requests.Session, operation: Any, mode: Any, count: int, first_seed: int, findings: Findings
) -> None:
    @seed(first_seed)
    @given(case=operation.as_strategy(generation_mode=mode), drawn=st.data())
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any, drawn: st.DataObject) -> None:
        if len(findings.failures) >= MAX_FAILURES:
            return
        keyless = adapt(case, drawn)
        answer = case.call(session=session, allow_redirects=False)
        findings.statuses[answer.status_code] += 1
        findings.operations[operation.label] += 1
        if keyless and answer.status_code < 400 and "security" in operation.definition.raw:
            findings.failures.append(f"{case.as_curl_command()}: answered without a key")
        try:
            own = operation.path in DOCUMENTED_5XX.get(answer.status_code, ())
            checks = [schemathesis.checks.not_a_server_error] if own else []
            case.validate_response(answer, excluded_checks=[*NOT_CHECKED, *checks])
        except BaseExceptionGroup as group:
            findings.failures.append(f"{case.as_curl_command()}: {[str(error) for error in group.exceptions]}")

    with suppress(Unsatisfiable):  # there is no wrong request to a route without a parameter
        ask()


def adapt(case: Any, drawn: st.DataObject) -> bool:
    """Mostly names a policy that exists, sends a key, and gives a valid observation.

    Returns whether the request has no valid key.
    """
    if "policy" in (case.path_parameters or {}) and drawn.draw(st.integers(0, 3)):
        case.path_parameters["policy"] = drawn.draw(st.sampled_from(POLICIES))
    key = drawn.draw(st.sampled_from([KEY, KEY, KEY, ADMIN_KEY, ADMIN_KEY, "wrong", None]))
    case.headers.pop("Authorization", None)
    if key is not None:
        case.headers["Authorization"] = f"Bearer {key}"
    if isinstance(case.body, dict) and drawn.draw(st.booleans()):
        if "observation" in case.body:
            case.body["observation"] = drawn.draw(SOUND)
        elif "observations" in case.body:
            case.body["observations"] = drawn.draw(st.lists(SOUND, min_size=1, max_size=3))
        for field in drawn.draw(
            st.sets(st.sampled_from(["explore", "version", "label", "episode", "outputs", "time_step"]))
        ):
            case.body.pop(field, None)
    return key not in (KEY, ADMIN_KEY)


if __name__ == "__main__":
    main()
