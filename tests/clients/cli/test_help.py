"""Help pages, of the commands that this environment has; tests/train/test_help.py looks at the others."""

from __future__ import annotations

import pytest
import typer
from typer.main import get_command

from rlway_client.cli.main import main
from tests.help_pages import WIDTHS, faults, pages


@pytest.mark.parametrize("width", WIDTHS)
def test_every_help_page_can_be_read_and_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """No line is wider than the terminal, no column is as narrow as a word, and each <placeholder> is there."""
    shown = list(pages(monkeypatch, width))
    assert {"rlway", "rlway serve", "rlway edge", "rlway act"} <= {words for words, _, _ in shown}
    assert [fault for words, command, page in shown for fault in faults(words, command, page, width)] == []
    (edge,) = (page for words, _, page in shown if words == "rlway edge")
    assert "models/<policy>/<version>, or models/<policy>" in edge


def test_the_checks_of_this_file_find_the_faults_of_typers_own_pages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page in Markdown swallows the placeholder, and squeezes the text beside a long list of choices."""
    choices = "a-rather-long-choice|another-long-choice|and-one-more-of-them"

    def old(
        models: str = typer.Argument(help="Folder of bundles, models/<policy>/<version>/, and no more than that."),
        device: str = typer.Option(metavar=choices, help="Where policies run, and how often, and for how long."),
    ) -> None:
        """Serves."""

    group = typer.Typer(rich_markup_mode="markdown")
    group.command()(old)
    command = get_command(group)
    monkeypatch.setenv("COLUMNS", "60")
    command.get_help(command.make_context("old", [], resilient_parsing=True))
    found = faults("old", command, capsys.readouterr().out, 60)
    assert any("leaves out of 'Folder of bundles" in fault for fault in found)


def test_a_group_without_a_command_shows_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, as --help does; the exit status says that no command ran."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("Usage: rlway [OPTIONS] COMMAND")
    assert printed.err == ""
