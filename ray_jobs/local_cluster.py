"""A private Ray cluster on this machine, shared by the processes of one ``GEM_HOME`` and kept no longer than needed.

It runs in a session of its own, so that it and its jobs outlive a crash of whoever started it: the next one to ask
finds ``cluster.json``, and the still running job. The last user to leave in order stops it. No other Ray on the machine
is looked at or touched.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from ray_jobs import locks
from ray_jobs.head import SWITCHES

FORWARDED = ("GEM_", "MLFLOW_", "HF_", "AWS_", "OMP_NUM_THREADS")
"""Variables that belong to a job, by prefix: each is submitted with its own, none stays behind in the cluster."""
SOCKET_PATH_LIMIT = 107
"""Bytes a Unix socket's path may have (Linux; a zero byte is the 108th)."""
LONGEST_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/dash_PlatformEventsHead"
TEMPORARY = "gem-ray-"
ENTRY = "ray_jobs.head"
STOP_SECONDS = 15


@dataclass(frozen=True)
class Head:
    """What ``cluster.json`` says about a cluster."""

    pid: int
    address: str
    token: str
    folder: str
    """Ray's sockets and logs are in its ``ray/``."""

    def process(self) -> psutil.Process | None:
        """The living process, if it is still the same.

        A later process may get the same pid, so its command line has to name our entry point and port. When it began
        would not do: that is counted from the boot, whose time moves whenever the clock is put right.
        """
        try:
            process = psutil.Process(self.pid)
            command = process.cmdline()  # of a zombie there is none
        except psutil.Error:
            return None
        return process if {ENTRY, str(urlsplit(self.address).port)} <= set(command) else None


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[Head]:
    """Use the cluster of a folder: the running one, else one that is being started (nobody waits for that here)."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stay:
        with locks.entrance(folder):
            users = stay.enter_context(locks.using(folder))
            head = _read(folder)
            if head is None or head.process() is None:
                head = _start(folder, head)
        try:
            yield head
        finally:
            with locks.entrance(folder):
                if locks.alone(users):
                    _stop(head)
                    (folder / "cluster.json").unlink(missing_ok=True)


def _read(folder: Path) -> Head | None:
    try:
        return Head(**json.loads((folder / "cluster.json").read_text()))
    except (OSError, ValueError, TypeError):  # missing, torn or of another version: as good as none
        return None


def _start(folder: Path, last: Head | None) -> Head:
    _clear(folder)
    if last:
        _end_orphans(last)
        _clear(Path(last.folder))
    root = folder
    if len(f"{root}{LONGEST_SOCKET}") > SOCKET_PATH_LIMIT:
        root = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir="/tmp"))  # private; $TMPDIR may be too long itself
    port, token = _free_port(), secrets.token_hex(32)
    ours = {k: v for k, v in os.environ.items() if not k.startswith((*FORWARDED, "RAY_"))}
    address = f"http://127.0.0.1:{port}"
    ours |= {
        **SWITCHES,
        "RAY_AUTH_TOKEN": token,
        "RAY_TMPDIR": str(root),
        "RAY_API_SERVER_ADDRESS": address,  # else Ray Train's cleaner asks whatever Ray it finds on the machine
    }
    with (folder / "cluster.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", ENTRY, "--port", str(port), "--folder", str(folder)],
            env=ours,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    await_command_line(process)
    head = Head(process.pid, address, token, str(root))
    scratch = folder / "cluster.json.new"
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(asdict(head), stream)
    scratch.replace(folder / "cluster.json")
    return head


def await_command_line(process: subprocess.Popen[bytes]) -> None:
    """Wait until a new process can be told by its command line, which Linux shows milliseconds late, or has ended."""
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):  # it ends at this moment
            if psutil.Process(process.pid).cmdline():
                return
        time.sleep(0.001)


def _stop(head: Head) -> None:
    process = head.process()
    if process is not None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)  # its own session, so its own group
            process.wait(STOP_SECONDS)
    if Path(head.folder).name.startswith(TEMPORARY):
        _clear(Path(head.folder))


def _end_orphans(head: Head) -> None:
    """End what a killed head left behind: Ray's agents try for a minute to tell it that they end."""
    if psutil.pid_exists(head.pid):  # another process by now: no session of ours has its number
        return
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(process.pid) == head.pid:
                process.kill()


def _clear(root: Path) -> None:
    """Remove what an earlier cluster left: sockets and logs. Those in ``GEM_HOME`` are kept until the next start."""
    shutil.rmtree(root if root.name.startswith(TEMPORARY) else root / "ray", ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
