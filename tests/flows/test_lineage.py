"""The commit that a version says it was made by."""

import subprocess

import pytest

from flows import lineage


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder in which this program could lie."""
    package = tmp_path / "project" / "flows"
    package.mkdir(parents=True)
    monkeypatch.setattr(lineage, "__file__", str(package / "lineage.py"))
    return package.parent


def commit(folder):
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)
    return subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_checkout_has_its_commit(checkout):
    assert lineage.code_commit() is None
    made = commit(checkout)
    assert lineage.code_commit() == made
    (checkout / "flows" / "lineage.py").write_text("changed")
    subprocess.run(["git", "-C", str(checkout), "add", "."], check=True)
    assert lineage.code_commit() == f"{made}-dirty"


def test_the_commit_of_a_project_that_merely_installed_it_is_not_its_own(checkout):
    commit(checkout.parent)
    assert lineage.code_commit() is None


def test_an_image_without_git_has_none(checkout, monkeypatch):
    commit(checkout)
    monkeypatch.setenv("PATH", str(checkout))
    assert lineage.code_commit() is None
