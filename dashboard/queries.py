"""What the pages ask of the registry and of the runs: read-only, and remembered for a few seconds.

A page is run anew at every click; without the memory each click would ask the tracking server a dozen times. The
address of the store is part of every key, so that two stores never mix.
"""

from typing import TYPE_CHECKING

import streamlit as st
from pydantic import ValidationError

from gem_core.errors import GemError
from gem_core.judging.gates import GateReport
from gem_core.settings import Settings

if TYPE_CHECKING:
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


def runs() -> "list[RunRecord]":
    """The MLflow runs of all experiments, newest first, unfinished and failed ones included.

    Raises:
        GemError: the store is out of reach.
    """
    return _runs(Settings().mlflow_uri)


def gate_report(version: "Version") -> GateReport | None:
    """What the quality gates said of a version; None when it was not judged.

    Raises:
        GemError: the report was written by another release and cannot be read.
    """
    if version.report is None:
        return None
    try:
        return GateReport.model_validate(version.report)
    except ValidationError as error:
        raise GemError(
            f"the gate report of {version.reference} was written by another release: evaluate the version again"
        ) from error


@st.cache_data(ttl=FRESH_FOR, max_entries=8, show_spinner="Asking the registry …")
def _families(uri: str, _settings: Settings) -> "list[Family]":
    from gem_core.records.registry import Registry

    return Registry(_settings).models() if _exists(uri) else []


@st.cache_data(ttl=FRESH_FOR, max_entries=32, show_spinner="Asking the registry …")
def _versions(uri: str, name: str, _settings: Settings) -> "list[Version]":
    from gem_core.records.registry import Registry

    return Registry(_settings).versions(name) if _exists(uri) else []


@st.cache_data(ttl=FRESH_FOR, max_entries=8, show_spinner=False)
def _runs(uri: str) -> "list[RunRecord]":
    from gem_core.records.tracking import Tracking

    return Tracking(uri).runs() if _exists(uri) else []


def _exists(uri: str) -> bool:
    """Whether asking would not create an empty store: looking must leave no trace."""
    from gem_core.records.mlflow_connection import sqlite_file

    database = sqlite_file(uri)
    return database is None or database.is_file()
