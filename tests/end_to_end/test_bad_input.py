"""What a user gets for a mistake: one line that says what to do, and a status that is not 0."""

import json
import socket
import sys

import pytest

from flows import cli


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "sandbx"], "unknown recipe sandbx (did you mean sandbox?)"),
        (["run", "sandbox", "--set", "trainning.steps=3"], "unknown key trainning (did you mean training?)"),
        (["run", "sandbox", "--set", "training.steps=0"], "training.steps = 0: input should be greater than"),
        (["run", "sandbox", "--ray-address", "head:8265"], "is no job server: write it as http://head:8265"),
        (["recipe", "validate", "nowhere.yaml"], "cannot read recipe nowhere.yaml"),
        (["recipe", "show", "sandbox", "--set", "seed"], "write it as key.path=value"),
        (["encode", "./nowhere", "a text"], "./nowhere does not exist"),
        (["encode", "models:/sandbox", "a text"], "models:/NAME/VERSION or models:/NAME@ALIAS"),
        (["encode", "sandbox:one", "a text"], "sandbox:SEED with a whole number"),
        (["evaluate", "sandbox:2"], "give either --suite NAME"),
        (["promote", "nobody", "1"], "nobody"),
        (["history", "nobody"], "nobody"),
        (["rollback", "nobody"], "nobody"),
    ],
)
def test_a_mistake_is_one_line(gem_here, arguments, expected):
    status, out, err = gem_here(*arguments)
    assert status == 1
    assert expected in err
    assert err.strip().count("\n") == 0
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert out == ""


def test_no_text_is_said(gem_here, monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("\n  \n")
    with empty.open() as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        status, _, err = gem_here("encode", "sandbox:2")
    assert (status, "no text to embed" in err) == (1, True)


def test_lines_that_are_no_text_are_refused(gem_here, monkeypatch, tmp_path):
    latin = tmp_path / "latin.txt"
    latin.write_bytes("ein Stück\n".encode("latin-1"))
    with latin.open(encoding="utf-8") as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        status, out, err = gem_here("encode", "sandbox:2")
    assert (status, out) == (1, "")
    assert err.startswith("error: standard input is not UTF-8")


def test_a_place_that_cannot_be_written_is_named(gem_here, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for arguments in (["export", "./nowhere"], ["train", "sandbox", "--output"]):
        status, out, err = gem_here(*arguments, tmp_path / "file" / "model")
        assert (status, out) == (1, "")
        assert err.startswith(f"error: cannot write {tmp_path}/file/model: ")
        assert err.strip().count("\n") == 0


def test_a_used_port_is_named(gem_here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, err = gem_here("dashboard", "--port", port)
    assert status == 1
    assert f"port {port} is in use" in err


def test_debug_shows_the_traceback(gem_here, monkeypatch):
    from gem_core.errors import GemError

    monkeypatch.setattr(sys, "argv", ["gem", "--debug", "run", "sandbx"])
    with pytest.raises(GemError):
        cli.main()


def test_an_unknown_option_is_a_usage_error(gem_here):
    status, _, err = gem_here("run", "sandbox", "--sett", "seed=1")
    assert status == 2
    assert "--set" in err


def test_recipes_are_shown_and_validated(gem_here):
    status, out, _ = gem_here("recipe", "show", "sandbox", "--set", "seed=9", "--json")
    assert status == 0
    assert json.loads(out)["seed"] == 9
    assert gem_here("recipe", "validate", "sandbox")[0] == 0


def test_doctor_reports_each_check(gem_here):
    status, out, _ = gem_here("doctor", "--json")
    findings = {finding["check"]: finding for finding in json.loads(out)}
    assert status == 0
    assert findings["mteb"]["ok"]
