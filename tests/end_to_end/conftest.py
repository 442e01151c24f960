"""The ``gem`` command as a user runs it: another process, its own home, its own Prefect server."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

SHORT = (
    "training.steps=40",
    "training.batch_size=32",
    "training.checkpoint_every=10",
    "objective.contrastive_start=10",
    "gates.0.test=estimate",
    *(f"gates.{number}.at_least=-100" for number in range(4)),
    "gates.5.at_least=0",
)
"""The sandbox recipe, cut down: a real training that learns little, and gates that let it pass."""


@dataclass(frozen=True)
class Gem:
    """Runs ``gem`` with one GEM_HOME."""

    home: Path
    prefect: Path
    hub: str = "http://127.0.0.1:9"
    """By default nothing listens there: nothing may be fetched."""

    @property
    def environment(self):
        return {
            **os.environ,
            "GEM_HOME": str(self.home),
            "PREFECT_HOME": str(self.prefect),
            "HF_HOME": str(self.home / "hf"),
            "HF_ENDPOINT": self.hub,
            "COLUMNS": "200",
        }

    def start(self, *arguments) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_take_interrupts,
        )

    def __call__(self, *arguments, timeout=400) -> subprocess.CompletedProcess:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @staticmethod
    def wait_for(condition, *, seconds=180, what="the condition"):
        """Poll until ``condition()`` is true and return its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.2)
        return pytest.fail(f"waited {seconds} s for {what}")

    def short_run(self, *overrides):
        """Arguments of a short run of the sandbox recipe."""
        settings = [part for override in (*SHORT, *overrides) for part in ("--set", override)]
        return ("run", "sandbox", *settings, "--json")


def _take_interrupts():
    """Undo what a shell does to background jobs, where the tests may run: there SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def gem(sandbox_home, tmp_path_factory):
    return Gem(sandbox_home, tmp_path_factory.mktemp("prefect"))


@pytest.fixture
def online(tmp_path):
    """The command with a home of its own and the hub that the environment names."""
    return Gem(tmp_path / "home", tmp_path / "prefect", os.environ["HF_ENDPOINT"])
