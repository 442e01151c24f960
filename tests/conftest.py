"""What every test may rely on: quiet tools, and one sandbox built once a session."""

import os
from pathlib import Path

import pytest

from flows import environment

environment.prepare()

NEEDS = {
    "hub": (lambda: "HF_ENDPOINT" in os.environ, "HF_ENDPOINT names no hub with the public data sets"),
    "gpu": (lambda: _cuda(), "no CUDA device"),
}


def pytest_collection_modifyitems(items):
    """Skip what this machine lacks, with the reason."""
    for name, (there, reason) in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        if marked and not there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def sandbox_home(tmp_path_factory) -> Path:
    """A GEM_HOME in which the whole sandbox of seed 2 is built: about a minute and a half, once a session."""
    from gem_core.sandbox import build

    home = tmp_path_factory.mktemp("home")
    build(home, 2)
    return home
