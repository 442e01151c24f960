"""Who uses a local cluster: file locks. The kernel drops them when a process dies, so nobody has to be counted."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock

USERS = "users.lock"


def entrance(folder: Path) -> FileLock:
    """Makes entering and leaving one at a time."""
    return FileLock(folder / "cluster.lock")


@contextmanager
def using(folder: Path) -> Iterator[IO[str]]:
    """Count as a user; enter and leave through the :func:`entrance`."""
    with (folder / USERS).open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield users


def alone(users: IO[str]) -> bool:
    """Whether no other user is left. The asker is none any more after this."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def in_use(folder: Path) -> bool:
    """Whether there is any user."""
    with (folder / USERS).open("w") as probe:
        return not alone(probe)
