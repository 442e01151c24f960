"""The store of :mod:`garden`, and an empty one."""

from pathlib import Path

import pytest
from garden import Store, fill, use


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Store:
    """The store, made once: v1 was champion, v2 is, v3 lost language and was refused, v4 lacks a score."""
    return fill(tmp_path_factory.mktemp("home"))


@pytest.fixture
def store(filled, monkeypatch) -> Store:
    """The filled store as the one that the environment names."""
    use(monkeypatch, filled.home)
    return filled


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    """A home without any records."""
    use(monkeypatch, tmp_path / "nothing")
    return tmp_path / "nothing"
