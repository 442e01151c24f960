"""Every task name that can be asked for: mteb's tasks and benchmarks, lm-eval's tasks and groups, the sandbox's own.

The harnesses need ten to fifteen seconds to list what they know (imports, and 15,000 YAML files), so the list is kept
on disk under both libraries' versions; asking it takes milliseconds and imports neither. Task data is never touched.
"""

from __future__ import annotations

import difflib
import json
import re
import tempfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gem_core.errors import GemError
from gem_core.sandbox import EMBEDDING_TASKS, LANGUAGE_GROUP
from gem_core.sandbox.exam import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gem_core.evaluation.scores import Kind

LIBRARIES: dict[str, Kind] = {"mteb": "embedding", "lm-eval": "language"}
"""What may stand before a name that both know: ``mteb:belebele``."""

SANDBOX_LANGUAGE = (LANGUAGE_GROUP, *(f"{LANGUAGE_GROUP}_{subject}" for subject in SUBJECTS))
"""The exam of a sandbox world, and its subjects."""

_FORMAT = 1
"""Raised when the file of the list changes its meaning."""


class BenchmarkTask(BaseModel):
    """One task of an mteb benchmark, narrowed to what the benchmark asks of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    subsets: tuple[str, ...]
    splits: tuple[str, ...]
    category: str
    """mteb's type: ``STS``, ``Retrieval``, ``Classification`` ..."""


class Catalogue(BaseModel):
    """The names that the installed libraries know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding: dict[str, str]
    """mteb's text tasks and the type of each."""
    unreadable: frozenset[str]
    """mteb's tasks and benchmarks of images, sound or video, which a text model cannot read."""
    benchmarks: dict[str, tuple[BenchmarkTask, ...]]
    """mteb's text benchmarks, by name and by alias."""
    language: frozenset[str]
    """lm-eval's tasks, groups and tags."""

    def kinds(self, name: str) -> set[Kind]:
        """What `name` names: an embedding task or benchmark, a language task or group, both, or nothing."""
        kinds: set[Kind] = set()
        if name in self.embedding or name in self.benchmarks or name in EMBEDDING_TASKS:
            kinds.add("embedding")
        if name in self.language or name in SANDBOX_LANGUAGE:
            kinds.add("language")
        return kinds

    def near(self, name: str, kinds: Iterable[Kind] = ("embedding", "language")) -> list[str]:
        """Up to three known names that `name` may be meant for, the closest first; upper and lower case are alike."""
        known: set[str] = set()
        if "embedding" in kinds:
            known |= {*self.embedding, *self.benchmarks, *EMBEDDING_TASKS}
        if "language" in kinds:
            known |= {*self.language, *SANDBOX_LANGUAGE}
        by_lower = {one.lower(): one for one in sorted(known)}
        return [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]

    def unknown(self, name: str, kinds: Iterable[Kind] = ("embedding", "language")) -> GemError:
        """The refusal of a name that nobody knows, with what it may have meant."""
        kinds = tuple(kinds)
        what = f"unknown {kinds[0] if len(kinds) == 1 else 'evaluation'} task {name!r}"
        if name in self.unreadable:
            return GemError(f"{name!r} asks for more than text (images, sound or video); name a task of texts")
        if near := self.near(name, kinds):
            return GemError(f"{what}; did you mean {' or '.join(near)}?")
        lists = {"embedding": "mteb's", "language": "lm-eval's"}
        return GemError(f"{what}; see {' and '.join(lists[kind] for kind in kinds)} list of tasks for the names")


def split_names(text: str) -> list[str]:
    """The names of a comma-separated list; a comma in parentheses belongs to a name: ``MTEB(eng, v2),mmlu``."""
    return [name.strip() for name in re.split(r",(?![^()]*\))", text) if name.strip()]


def sort_tasks(names: Iterable[str], home: Path | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell embedding tasks from language tasks.

    Args:
        names: mteb tasks or benchmarks, lm-eval tasks or groups, sandbox tasks; ``mteb:NAME`` or ``lm-eval:NAME`` where
            both libraries know a name.
        home: Where the list of names is kept; the platform's home when None.

    Returns:
        The embedding names and the language names, each once, in the order given.

    Raises:
        GemError: For a name that nobody knows (with near matches), or that both libraries know.
    """
    sorted_names: dict[Kind, dict[str, None]] = {"embedding": {}, "language": {}}
    for given in names:
        library, _, rest = given.partition(":")
        asked, name = ({LIBRARIES[library]}, rest) if library in LIBRARIES else (set(LIBRARIES.values()), given)
        kinds = asked & (_of_the_sandbox(name) or catalogue(home).kinds(name))
        if not kinds:
            raise catalogue(home).unknown(name, sorted(asked))
        if len(kinds) > 1:
            raise GemError(f"both mteb and lm-eval have a task {name!r}; write mteb:{name} or lm-eval:{name}")
        sorted_names[kinds.pop()][name] = None
    return tuple(sorted_names["embedding"]), tuple(sorted_names["language"])


def _of_the_sandbox(name: str) -> set[Kind]:
    """The kind of a sandbox task, for which no library need be asked."""
    kind: Literal["embedding", "language"] | None = "embedding" if name in EMBEDDING_TASKS else None
    kind = "language" if name in SANDBOX_LANGUAGE else kind
    return {kind} if kind else set()


def catalogue(home: Path | None = None) -> Catalogue:
    """The names that the installed versions know: from disk, or, the first time, from the libraries (15 s).

    Args:
        home: The platform's home (``GEM_HOME`` when None); a home that cannot be written only costs the time again.
    """
    if home is None:
        from gem_core.settings import Settings

        home = Settings().home
    return _catalogue(home, version("mteb"), version("lm-eval"))


@lru_cache(maxsize=4)
def _catalogue(home: Path, mteb: str, lm_eval: str) -> Catalogue:
    path = home / "catalogue" / f"{_FORMAT}-mteb-{mteb}-lm-eval-{lm_eval}.json"
    try:
        return Catalogue.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):  # not there yet, or damaged: it is only a copy
        found = _ask_the_libraries()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as stream:
            stream.write(json.dumps(found.model_dump(mode="json"), sort_keys=True))
        Path(stream.name).replace(path)
    except OSError:
        pass
    return found


def _ask_the_libraries() -> Catalogue:
    import mteb
    from lm_eval.tasks import TaskManager
    from mteb.get_tasks import TASK_LIST

    from gem_core.evaluation.quiet import quiet

    with quiet():
        of_text = {task.metadata.name: task.metadata for task in TASK_LIST if set(task.metadata.modalities) == {"text"}}
        benchmarks: dict[str, tuple[BenchmarkTask, ...]] = {}
        unreadable = {task.metadata.name for task in TASK_LIST} - of_text.keys()
        for benchmark in mteb.get_benchmarks():
            names = {benchmark.name, *benchmark.aliases}
            if any(task.metadata.name not in of_text for task in benchmark.tasks):
                unreadable |= names
                continue
            tasks = tuple(
                BenchmarkTask(
                    task=task.metadata.name,
                    subsets=tuple(task.hf_subsets),
                    splits=tuple(task.eval_splits),
                    category=task.metadata.type,
                )
                for task in benchmark.tasks
            )
            benchmarks |= dict.fromkeys(names, tasks)
        return Catalogue(
            embedding={name: metadata.type for name, metadata in of_text.items()},
            unreadable=frozenset(unreadable),
            benchmarks=benchmarks,
            language=frozenset(TaskManager().all_tasks),
        )
