"""All clients at once: one server, one recurrent policy."""

from __future__ import annotations

from pathlib import Path

from tests.foreign.conftest import ForeignServer
from tests.foreign.programs import DISTINCT
from tests.foreign.proofs import check_episodes


def test_the_clients_of_all_protocols_share_a_policy_without_mixing_episodes(
    foreign: ForeignServer, tmp_path: Path
) -> None:
    """Each client walks 64 episodes while all others do, and each step equals the in-process policy's."""
    running = []
    for i, program in enumerate(DISTINCT):
        folder = tmp_path / str(i)
        folder.mkdir()
        running.append(foreign.start(program, folder, ["episodes"]))
    everything = [program.finish() for program in running]
    assert [check_episodes(answers) for answers in everything] == [472] * len(running)
