"""The embedded default: a small measurable world with its text, base model, embedding tasks and exam, from a seed.

`build` needs no network, pre-trains a small base model the first time, and finds its own work in the cache from then
on. Importing this package loads neither torch nor mteb nor lm-eval.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from filelock import FileLock

from gem_core.sandbox.store import (
    EMBEDDING_TASKS,
    LANGUAGE_GROUP,
    VERSION,
    ModelSize,
    Sandbox,
    SandboxSpec,
)
from gem_core.sandbox.task_data import TaskSizes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "EMBEDDING_TASKS",
    "LANGUAGE_GROUP",
    "VERSION",
    "ModelSize",
    "Sandbox",
    "SandboxSpec",
    "TaskSizes",
    "build",
]


def build(
    home: Path,
    seed: int = 0,
    *,
    spec: SandboxSpec | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Sandbox:
    """Build the sandbox of `seed` under `home`, or find it there.

    It is written to a temporary sibling and renamed into place when it is complete, so a folder that exists is whole;
    the leavings of a killed build are removed by the next.
    Of two processes that build the same one, the second waits for the first.

    Args:
        home: The platform's home; the sandbox goes to `<home>/sandbox/<seed>-<digest>`.
        seed: Which world. Another seed is another world with other names and facts.
        spec: Sizes; tests build miniatures with it.
        progress: Called with the stage (`world`, `pre-training`) and its share done, 0 to 1. Not called on a cache hit.
    """
    spec = spec or SandboxSpec()
    sandbox = Sandbox.at(home.resolve() / "sandbox" / f"{seed}-{spec.digest()}", seed)
    if sandbox.folder.is_dir():
        return sandbox
    sandbox.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{sandbox.folder}.lock"):
        if sandbox.folder.is_dir():
            return sandbox
        # Loads torch, which a cache hit has no use for.
        from gem_core.sandbox.builder import write_sandbox

        partial = sandbox.folder.with_name(f".{sandbox.folder.name}.partial")
        # Whoever holds the lock is the only builder, so what lies there was left by one that was killed.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            write_sandbox(partial, sandbox.folder, seed, spec, progress or _silent)
            partial.rename(sandbox.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return sandbox


def _silent(_stage: str, _share: float) -> None:
    """Report progress to nobody."""
