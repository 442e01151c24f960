"""What every test may rely on: quiet tools, one sandbox built once a session, and company of its own kind."""

import os
from pathlib import Path

import pytest

from flows import environment

environment.prepare()
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # more threads than cores: those that wait must not spin

TESTS = Path(__file__).parent
NEEDS = {
    "hub": (lambda: "HF_ENDPOINT" in os.environ, "HF_ENDPOINT names no hub with the public data sets"),
    "gpu": (lambda: _cuda(), "no CUDA device"),
}


def pytest_collection_modifyitems(items):
    """Skip what this machine lacks, with the reason; keep together what shares something dear, the longest first."""
    for name, (there, reason) in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        if marked and not there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_company(item)))
    first = ("sandbox", "ray_jobs")
    items.sort(key=lambda item: first.index(_company(item)) if _company(item) in first else len(first))


def _company(item) -> str:
    """Names the tests that one process of a parallel session runs, so that each costly fixture is made once."""
    if "sandbox_home" in item.fixturenames:
        return "sandbox"
    folder = item.path.relative_to(TESTS).parts[0]
    return folder if folder == "ray_jobs" else item.path.relative_to(TESTS).as_posix()


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
