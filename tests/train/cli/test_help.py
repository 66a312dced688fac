"""Help pages of the commands that need TensorFlow's environment, and the list of presets."""

from __future__ import annotations

import pytest

from rlway_client.cli.main import main
from rlway_train.config.presets import PRESETS
from tests.help_pages import WIDTHS, faults, pages


@pytest.mark.parametrize("width", WIDTHS)
def test_every_help_page_can_be_read_and_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """No line is wider than the terminal, no column as narrow as a word, and each <placeholder> is there."""
    shown = list(pages(monkeypatch, width))
    assert {"rlway train dqn", "rlway train replay", "rlway env check", "rlway export"} <= {w for w, _, _ in shown}
    assert [fault for words, command, page in shown for fault in faults(words, command, page, width)] == []


def test_settings_stand_under_their_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fifty flags in one list would be hard to search."""
    (page,) = (page for words, _, page in pages(monkeypatch, 80) if words == "rlway train dqn")
    at = [page.index(f"\n{text}") for text in ("Training:", "Network and loss:", "  --gamma", "Exploring:")]
    assert at == sorted(at)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_presets_are_listed_so_that_they_can_be_read(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its command, its environment and all of its summary, without training anything."""
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as ended:
        main(["train", "--list-presets"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    flowing = " ".join(printed.split())
    for name, preset in PRESETS.items():
        assert f"{name} rlway train {preset.algorithm} {preset.env} {preset.settings.steps:,} steps" in flowing
        assert preset.summary in flowing
    assert len(printed.splitlines()) <= 3 * len(PRESETS)
