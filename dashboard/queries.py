"""What the pages ask of the registry and of the runs: read-only, and remembered for a few seconds.

A page is run anew at every click; without the memory each click would ask the tracking server a dozen times. The
address of the store is part of every key, so that two stores never mix.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from pydantic import ValidationError

from dashboard.tables import Written, written_table
from gem_core.errors import GemError
from gem_core.judging.gates import GateReport
from gem_core.records.promotion_log import content_hash
from gem_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gem_core.judging.comparison import ModelComparison
    from gem_core.records.promotion_log import Move
    from gem_core.records.tracking import RunRecord
    from gem_core.records.versions import Family, Version

FRESH_FOR = 5.0
"""Seconds after which the store is asked again."""


def families() -> "list[Family]":
    """All registered models, by name; none when there is no store yet.

    Raises:
        GemError: the store is out of reach.
    """
    settings = Settings()
    return _families(settings.mlflow_uri, settings)


def versions(name: str) -> "list[Version]":
    """All versions of a registered model, newest first.

    Raises:
        GemError: the store is out of reach, or has no such model.
    """
    settings = Settings()
    return _versions(settings.mlflow_uri, name, settings)


def runs(most: int) -> "list[RunRecord]":
    """The newest MLflow runs of all experiments, unfinished and failed ones included.

    Raises:
        GemError: the store is out of reach.
    """
    return _runs(Settings().mlflow_uri, most)


def history(name: str) -> "list[Move]":
    """Every move of a registered model, oldest first.

    Raises:
        GemError: the store is out of reach, or has no such model.
    """
    settings = Settings()
    return _history(settings.mlflow_uri, name, settings)


def gate_report(version: "Version") -> GateReport | None:
    """What the quality gates said of a version, last; None when it was not judged.

    Raises:
        GemError: the report was written by another release and cannot be read.
    """
    return _read(version.report, version.reference)


def report_behind(name: str, move: "Move") -> GateReport | None:
    """The gate report that a move was made by; None where there was none.

    Raises:
        GemError: it is gone or another than the log vouches for, or was written by another release.
    """
    settings = Settings()
    return _report_behind(settings.mlflow_uri, name, move.hash, move, settings)


def comparison(first: "Version", second: "Version") -> "ModelComparison":
    """The second version held against the first, by what this machine's score store has of both.

    Its rows are empty where the store has nothing: scores lie where they were measured.
    """
    scores = Settings().scores
    return _comparison(str(scores), (first.digest, first.reference), (second.digest, second.reference))


def written(chosen: str, models: "Mapping[str, str]") -> list[Written]:
    """What models wrote from the same prompts, by what this machine's score store has: one for each way to write.

    Args:
        chosen: the model in question: others that did not write under its settings are left out.
        models: what the page calls a model -> its content digest.
    """
    return _written(str(Settings().scores), chosen, tuple(models.items()))


def forget() -> None:
    """Ask the registry anew, whoever asks next: something was changed here."""
    for remembered in (_families, _versions, _history, _report_behind):
        remembered.clear()


def _read(report: "dict[str, Any] | None", reference: str) -> GateReport | None:
    if report is None:
        return None
    try:
        return GateReport.model_validate(report)
    except ValidationError as error:
        raise GemError(
            f"the gate report of {reference} was written by another release: evaluate the version again"
        ) from error


@st.cache_data(ttl=FRESH_FOR, max_entries=8, show_spinner="Asking the registry …")
def _families(uri: str, _settings: Settings) -> "list[Family]":
    from gem_core.records.registry import Registry

    return Registry(_settings).models() if _exists(uri) else []


@st.cache_data(ttl=FRESH_FOR, max_entries=32, show_spinner="Asking the registry …")
def _versions(uri: str, name: str, _settings: Settings) -> "list[Version]":
    from gem_core.records.registry import Registry

    return Registry(_settings).versions(name) if _exists(uri) else []


@st.cache_data(ttl=FRESH_FOR, max_entries=32, show_spinner="Asking the registry …")
def _history(uri: str, name: str, _settings: Settings) -> "list[Move]":
    from gem_core.records.promotion import Championship
    from gem_core.records.registry import Registry

    return Championship(Registry(_settings), name).history() if _exists(uri) else []


@st.cache_data(ttl=FRESH_FOR, max_entries=32, show_spinner="Asking the registry …")
def _report_behind(uri: str, name: str, hash_of_move: str, _move: "Move", _settings: Settings) -> GateReport | None:
    from gem_core.records.promotion import Championship
    from gem_core.records.registry import Registry

    report, digest = Championship(Registry(_settings), name).report(_move), (_move.report or {}).get("digest")
    if digest is not None and (report is None or content_hash(report) != digest):
        raise GemError(
            f"the gate report of move {_move.number} of {name} is {'gone' if report is None else 'changed'}: "
            "do not decide by it (gem verify-log says more)"
        )
    return _read(report, f"models:/{name}/{_move.version}")


@st.cache_data(max_entries=32, show_spinner="Comparing …", ttl=60.0)
def _comparison(store: str, first: tuple[str, str], second: tuple[str, str]) -> "ModelComparison":
    from gem_core.evaluation.store import ScoreStore
    from gem_core.judging.comparison import compare
    from gem_core.judging.recorded_scores import recorded_pair

    ours, theirs, known = recorded_pair(Path(store), first, second)
    records = ScoreStore(Path(store))
    return compare(ours, theirs, records=records.items, predictions=records.predictions, settings=known)


@st.cache_data(max_entries=32, show_spinner="Reading what was written …", ttl=60.0)
def _written(store: str, chosen: str, models: tuple[tuple[str, str], ...]) -> list[Written]:
    from gem_core.evaluation.store import ScoreStore
    from gem_core.judging.recorded_scores import recorded_continuations

    found, records, digests = [], ScoreStore(Path(store)), dict(models)
    for decoding, by_digest in recorded_continuations(Path(store), digests[chosen], list(digests.values())).items():
        entries = {model: by_digest[digest] for model, digest in models if digest in by_digest}
        texts = {model: records.continuations(entry.scores[0]) for model, entry in entries.items()}
        rows = {model: table.to_pylist() for model, table in texts.items() if table is not None}
        if chosen in rows:
            found.append(written_table(decoding, {model: entries[model] for model in rows}, rows))
    return found


@st.cache_data(ttl=FRESH_FOR, max_entries=8, show_spinner=False)
def _runs(uri: str, most: int) -> "list[RunRecord]":
    from gem_core.records.tracking import Tracking

    return Tracking(uri).runs(most=most) if _exists(uri) else []


def _exists(uri: str) -> bool:
    """Whether asking would not create an empty store: looking must leave no trace."""
    from gem_core.records.mlflow_connection import sqlite_file

    database = sqlite_file(uri)
    return database is None or database.is_file()
