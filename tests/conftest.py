"""What every test may rely on: quiet tools, one sandbox built once a session, and company of its own kind."""

import os
import sys
from pathlib import Path

import pytest

from flows import cli, environment

environment.prepare()
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # more threads than cores: those that wait must not spin

DEAR = ("tests/end_to_end/", "tests/ray_jobs/")
"""Folders whose tests share a whole sandbox, or a cluster."""
APART = ("tests/end_to_end/test_public_names.py",)
"""Files in them that share nothing."""
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
    if path in APART:
        return path
    return next((folder for folder in DEAR if path.startswith(folder)), path)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def sandbox_home(tmp_path_factory) -> Path:
    """A GEM_HOME in which a small sandbox stands where the full one of seed 2 would be looked for.

    Its base has learnt next to nothing: what the full one knows is seen by `make demo` and its gates.
    """
    from gem_core.sandbox import ModelSize, SandboxSpec, TaskSizes, build

    home = tmp_path_factory.mktemp("home")
    small = SandboxSpec(
        training_rows=2000,
        questions_per_subject=10,
        tasks=TaskSizes(sts_pairs=60, labelled_texts=60, queries=20, documents_per_entity=2),
        model=ModelSize(vocabulary=1024, width=64, layers=2, heads=2, feed_forward=128, steps=40),
    )
    built = build(home, 2, spec=small)
    built.folder.with_name(f"2-{SandboxSpec().digest()}").symlink_to(built.folder)
    return home


@pytest.fixture
def gem_here(monkeypatch, capsys, tmp_path):
    """Runs ``gem`` in this process with an empty home; returns status, output and errors."""
    monkeypatch.setenv("GEM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("GEM_DEBUG", raising=False)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["gem", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return command
