"""Every task name that can be asked for: mteb's tasks and benchmarks, lm-eval's tasks and groups, the sandbox's own.

The harnesses need ten to fifteen seconds to list what they know (imports, and 15,000 YAML files), so the list is kept
on disk under both libraries' versions; asking it takes milliseconds and imports neither. Task data is never touched.
"""

from __future__ import annotations

import contextlib
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gem_core.errors import GemError
from gem_core.near_matches import did_you_mean
from gem_core.recipe.gates import split_names as split_names
from gem_core.sandbox import EMBEDDING_TASKS, LANGUAGE_GROUP
from gem_core.sandbox.exam import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from gem_core.evaluation.scores import Kind

LIBRARIES: dict[str, Kind] = {"mteb": "embedding", "lm-eval": "language"}
"""What may stand before a name that both know: ``mteb:belebele``."""

SANDBOX_LANGUAGE = (LANGUAGE_GROUP, *(f"{LANGUAGE_GROUP}_{subject}" for subject in SUBJECTS))
"""The exam of a sandbox world, and its subjects."""

_FORMAT = 2
"""Raised when the files of names change their meaning."""
_LISTS = "see mteb's list of benchmarks for the names"


class BenchmarkTask(BaseModel):
    """One task of an mteb benchmark, narrowed to what the benchmark asks of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    subsets: tuple[str, ...]
    splits: tuple[str, ...]


class EmbeddingNames(BaseModel):
    """What the installed mteb knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: dict[str, str]
    """Text tasks and the type of each."""
    benchmarks: dict[str, tuple[BenchmarkTask, ...]]
    """Text benchmarks, by name and by alias."""
    unreadable: frozenset[str]
    """Tasks and benchmarks of images, sound or video, which a text model cannot read."""


class LanguageNames(BaseModel):
    """What the installed lm-eval knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folders: dict[str, tuple[str, ...]]
    """Tasks, groups and tags, and the folders among the harness's own that hold all of each."""


Names = TypeVar("Names", EmbeddingNames, LanguageNames)


def embedding_names(home: Path | None = None) -> EmbeddingNames:
    """What mteb knows: from disk, or, the first time, from mteb (5 s).

    Args:
        home: The platform's home (``GEM_HOME`` when None); a home that cannot be written only costs the time again.
    """
    return _kept(_home(home) / "catalogue" / f"mteb-{version('mteb')}-{_FORMAT}.json", EmbeddingNames, _ask_mteb)


def language_names(home: Path | None = None) -> LanguageNames:
    """What lm-eval knows: from disk, or, the first time, from lm-eval (10 s).

    Args:
        home: As for :func:`embedding_names`.
    """
    path = _home(home) / "catalogue" / f"lm-eval-{version('lm-eval')}-{_FORMAT}.json"
    return _kept(path, LanguageNames, _ask_lm_eval)


def is_sandbox(task: str) -> bool:
    """Whether `task` belongs to a sandbox world instead of mteb or lm-eval."""
    return task.lower().startswith("sandbox")


def sort_tasks(names: Iterable[str], home: Path | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell embedding tasks from language tasks.

    Args:
        names: mteb tasks or benchmarks, lm-eval tasks or groups, sandbox tasks; ``mteb:NAME`` or ``lm-eval:NAME`` where
            both libraries know a name.
        home: Where the lists of names are kept.

    Returns:
        The embedding names and the language names, each once, in the order given.

    Raises:
        GemError: For a name that nobody knows (with near matches), or that both libraries know.
    """
    sorted_names: dict[Kind, dict[str, None]] = {"embedding": {}, "language": {}}
    for given in names:
        library, _, rest = given.partition(":")
        asked, name = ((LIBRARIES[library],), rest) if library in LIBRARIES else (tuple(LIBRARIES.values()), given)
        kinds = [kind for kind in asked if name in _known(name, kind, home)]
        if not kinds:
            raise _unknown(name, asked, home)
        if len(kinds) > 1:
            raise GemError(f"both mteb and lm-eval have a task {name!r}; write mteb:{name} or lm-eval:{name}")
        sorted_names[kinds[0]][name] = None
    return tuple(sorted_names["embedding"]), tuple(sorted_names["language"])


def benchmark_tasks(name: str, home: Path | None = None) -> tuple[BenchmarkTask, ...]:
    """The tasks of an mteb benchmark.

    Raises:
        GemError: There is none of this name; near matches are named.
    """
    known = embedding_names(home)
    if name in known.benchmarks:
        return known.benchmarks[name]
    if name in known.unreadable:
        raise _unknown(name, ("embedding",), home)
    raise GemError(f"unknown benchmark {name!r}; {did_you_mean(name, known.benchmarks, _LISTS)}")


def check(names: Iterable[str], kind: Kind, home: Path | None = None) -> None:
    """Refuse names that nobody knows, before anything is measured.

    Raises:
        GemError: Naming the unknown task and what it may have meant.
    """
    for name in names:
        if name not in _known(name, kind, home):
            raise _unknown(name, (kind,), home)


def _known(name: str, kind: Kind, home: Path | None) -> Collection[str]:
    """Every name of a kind; those of the sandbox alone for a name of its, since no library need be asked for it."""
    if is_sandbox(name):
        return EMBEDDING_TASKS if kind == "embedding" else SANDBOX_LANGUAGE
    if kind == "language":
        return language_names(home).folders
    names = embedding_names(home)
    return {**names.tasks, **names.benchmarks}


def _unknown(name: str, kinds: tuple[Kind, ...], home: Path | None) -> GemError:
    what = f"unknown {kinds[0] if len(kinds) == 1 else 'evaluation'} task {name!r}"
    if "embedding" in kinds and not is_sandbox(name) and name in embedding_names(home).unreadable:
        return GemError(f"{name!r} asks for more than text (images, sound or video); name a task of texts")
    if guess := did_you_mean(name, [known for kind in kinds for known in _known(name, kind, home)]):
        return GemError(f"{what}; {guess}")
    lists = {"embedding": "mteb's", "language": "lm-eval's"}
    return GemError(f"{what}; see {' and '.join(lists[kind] for kind in kinds)} list of tasks for the names")


def _home(home: Path | None) -> Path:
    if home is not None:
        return home
    from gem_core.settings import Settings

    return Settings().home


_read: dict[Path, EmbeddingNames | LanguageNames] = {}


def _kept(path: Path, kind: type[Names], ask: Callable[[], Names]) -> Names:
    """The list at `path`; where there is none that can be read, `ask` makes it and it is written there."""
    known = _read.get(path)
    if isinstance(known, kind):
        return known
    try:
        found = kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):  # not there yet, or damaged: it is only a copy
        found = ask()
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as stream:
                stream.write(found.model_dump_json())
            Path(stream.name).chmod(0o644)  # whoever shares the home may read it
            Path(stream.name).replace(path)
    _read[path] = found
    return found


def _ask_mteb() -> EmbeddingNames:
    import mteb
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
                BenchmarkTask(task=task.metadata.name, subsets=tuple(task.hf_subsets), splits=tuple(task.eval_splits))
                for task in benchmark.tasks
            )
            benchmarks |= dict.fromkeys(names, tasks)
    return EmbeddingNames(
        tasks={name: metadata.type for name, metadata in of_text.items()},
        benchmarks=benchmarks,
        unreadable=frozenset(unreadable),
    )


def _ask_lm_eval() -> LanguageNames:
    import lm_eval.tasks

    from gem_core.evaluation.quiet import quiet

    with quiet():
        index = lm_eval.tasks.TaskManager().task_index
    root = Path(lm_eval.tasks.__file__).parent
    found: dict[str, frozenset[str]] = {}

    def folders(name: str) -> frozenset[str]:
        """The folders of a task, or of all that a group or tag stands for."""
        if name not in found:
            found[name] = frozenset()  # a group that holds itself ends here
            entry = index[name]
            own = {entry.yaml_path.relative_to(root).parts[0]} if entry.yaml_path else set()
            inside = {*_children((entry.cfg or {}).get("task")), *(entry.tags if entry.yaml_path is None else ())}
            found[name] = frozenset(own).union(*(folders(child) for child in inside & index.keys()))
        return found[name]

    return LanguageNames(folders={name: tuple(sorted(folders(name))) for name in index})


def _children(written: object) -> Iterator[str]:
    """The names in a group's list of tasks, however deep."""
    if isinstance(written, str):
        yield written
    elif isinstance(written, list):
        for one in written:
            yield from _children(one)
    elif isinstance(written, dict):
        yield from _children(written.get("task"))
