"""Films of policies."""

from __future__ import annotations

from pathlib import Path

import imageio.v2 as imageio

from rlway_train.envs.domain import find_domain
from rlway_train.reports.video import film
from tests.policies import Always


def test_a_film_ends_when_its_time_is_up(tmp_path: Path) -> None:
    """With no time at all, one picture is left of ten seconds."""
    domain = find_domain("rlway/GridWorld-v0")
    for filming_s, frames in ((0.0, 1), (60.0, 40)):
        film(domain, Always(2), 0, tmp_path / "film.mp4", filming_s)
        assert len(list(imageio.get_reader(tmp_path / "film.mp4").iter_data())) == frames
