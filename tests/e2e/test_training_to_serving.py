"""Training to serving without a hand on it: one command trains and publishes, another serves each version."""

from __future__ import annotations

from rlway_client.contract.bundle import Bundle, bundle_versions
from tests.e2e.conftest import Line


def test_a_client_goes_from_version_to_version_while_the_policy_is_trained(line: Line) -> None:
    """A server over an empty folder becomes ready, serves each better policy in turn, and answers every request."""
    newest = bundle_versions(line.policy)[0]
    assert newest >= 2
    assert (line.status_before, line.status_after) == (503, 0)
    assert line.answered == sorted(line.answered)
    assert {1, newest} <= set(line.answered) <= set(range(1, newest + 1))
    trained = [Bundle.open(line.policy / str(version)).manifest.training for version in range(1, newest + 1)]
    returns = [facts["evaluated_return"] for facts in trained]
    assert returns == sorted(returns)
