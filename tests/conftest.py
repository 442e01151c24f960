"""What every test may rely on: quiet tools, one sandbox built once a session, and company of its own kind."""

import os
from pathlib import Path

import pytest

from flows import environment

environment.prepare()
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # more threads than cores: those that wait must not spin

DEAR = ("tests/end_to_end/", "tests/ray_jobs/")
"""Folders whose tests share a whole sandbox, or a cluster."""
NEEDS = {
    "hub": (lambda: "HF_ENDPOINT" in os.environ, "HF_ENDPOINT names no hub with the public data sets"),
    "gpu": (lambda: _cuda(), "no CUDA device"),
}


def pytest_collection_modifyitems(items):
    """Skip what this machine lacks, with the reason; put first what takes longest."""
    for name, (there, reason) in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        if marked and not there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: _company(item.nodeid) not in DEAR)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let each file, and each folder whose tests share something dear, run in one of the parallel processes."""
    from xdist.scheduler import LoadScopeScheduling

    class ByCompany(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _company(nodeid)

    return ByCompany(config, log)


def _company(nodeid) -> str:
    path = nodeid.partition("::")[0]
    return next((folder for folder in DEAR if path.startswith(folder)), path)


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
