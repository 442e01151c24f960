"""What the command prints of names, reasons and paths that other people chose."""

from flows.console import fail, out, table
from flows.progress import report, shown_on
from gem_core.errors import GemError

ODD = "see [ticket-5] and [/tmp/a folder], :warning: [bold]"
"""To rich two of these are markup, one closes what was never opened, and one is a picture."""


def test_an_error_is_said_as_it_is(capsys):
    assert fail(GemError(ODD)) == 1
    assert capsys.readouterr().err == f"error: {ODD}\n"


def test_a_table_shows_what_it_is_given(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out().print(table(ODD, ["who", "why"], [["a person", ODD]]))
    assert capsys.readouterr().out.count(ODD) == 2


def test_progress_shows_what_it_is_told(capsys, monkeypatch):
    from rich.console import Console

    monkeypatch.setenv("COLUMNS", "200")
    with shown_on(Console(force_terminal=True, markup=False, color_system=None)):
        report("scoring [/tmp/a]", 0.5, ODD)
    assert ODD in capsys.readouterr().out
