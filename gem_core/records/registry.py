"""Registered models and their versions in MLflow: aliases, never stages; the content digest is the identity.

A version's files are the artifact folder ``model/`` of its MLflow run. They are stored and checked before the version
is created, and the version with all its tags is created in one call, so that nothing is ever half registered; doing it
again finds what is there. Who is champion is the matter of :mod:`gem_core.records.promotion`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from gem_core.errors import GemError
from gem_core.near_matches import did_you_mean
from gem_core.records import filed_reports, model_files, versions
from gem_core.records.mlflow_connection import all_pages, connect, explained
from gem_core.records.versions import (
    CHAMPION,
    Family,
    Version,
    family_of,
    parse_reference,
    tag_text,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from gem_core.settings import Settings


class Registry:
    """The model registry. Constructing it calls nobody."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.uri = settings.mlflow_uri

    @cached_property
    def client(self) -> MlflowClient:
        """The connection, opened on first use."""
        return connect(self.uri)

    def models(self) -> list[Family]:
        """All registered models, by name."""
        with explained(self.uri):
            query = self.client.search_registered_models
            found: list[RegisteredModel] = all_pages(
                lambda token: query(max_results=1000, order_by=["name"], page_token=token)
            )
        return [family_of(model) for model in found]

    def model(self, name: str) -> RegisteredModel:
        """What MLflow knows of a registered model: its aliases and its tags.

        Raises:
            GemError: There is none of this name; near matches are named.
        """
        from mlflow.exceptions import MlflowException

        with explained(self.uri):
            try:
                return self.client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        names = [model.name for model in self.models()]
        there = f"there is: {', '.join(names[:10]) or 'none yet (gem run makes one)'}"
        raise GemError(f"no registered model is called {name!r}; {did_you_mean(name, names, there)}")

    def versions(self, name: str) -> list[Version]:
        """The versions of a model, newest first.

        Raises:
            GemError: No such model.
        """
        model = self.model(name)
        with explained(self.uri):
            query = self.client.search_model_versions
            found: list[ModelVersion] = all_pages(
                lambda token: query(f"name='{name}'", max_results=1000, page_token=token)
            )
        return sorted(
            (versions.version_of(item, model) for item in found), key=lambda version: int(version.version), reverse=True
        )

    def get(self, name: str, version: str) -> Version:
        """One version, by number, alias or ``latest``.

        Raises:
            GemError: No such model, version or alias; says which there are.
        """
        known = self.versions(name)
        for found in known:
            if version in (found.version, *found.aliases) or version == "latest":
                return found
        aliases = sorted(alias for found in known for alias in found.aliases)
        there = ", ".join([*(found.version for found in known[:10]), *aliases]) or "none"
        raise GemError(f"{name} has no version or alias {version!r}; it has: {there}")

    def champion(self, name: str) -> Version | None:
        """The reigning version; None when there is no champion or no such model yet."""
        if all(model.name != name for model in self.models()):
            return None
        return next((version for version in self.versions(name) if CHAMPION in version.aliases), None)

    def download_uri(self, reference: str) -> Path:
        """The folder behind ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``.

        Raises:
            GemError: Malformed, unknown, or its files are not what was registered.
        """
        return self.download(*parse_reference(reference))

    def download(self, name: str, version: str) -> Path:
        """The files of a version: in place when the store is on this machine, else a copy kept by digest.

        Raises:
            GemError: Unknown, out of reach, or the files are not those that were registered.
        """
        with explained(self.uri):
            return model_files.fetch(self.get(name, version), self.settings, self.uri)

    def record_scores(
        self,
        name: str,
        version: str,
        scores: Mapping[str, float],
        baseline: Mapping[str, float],
        limited: Collection[str] = (),
    ) -> None:
        """Keep what was measured of a version and of its base, metric -> points, and which metrics are a quick look."""
        self._tag(name, version, versions.scores_tags(scores, baseline, limited))

    def record_report(self, name: str, version: str, report: Mapping[str, Any]) -> None:
        """Keep the gate report of a version, with its ``verdict``."""
        found = self.get(name, version)
        with explained(self.uri):
            filed = filed_reports.file(self.client, found, report)
        self._tag(name, version, {versions.REPORT: tag_text(filed), versions.VERDICT: str(report["verdict"])})

    def describe(self, name: str, version: str, card: str) -> None:
        """Show a model card as the version's description, and keep it as ``README.md`` beside the weights."""
        found = self.get(name, version)
        with explained(self.uri):
            self.client.log_text(found.run_id, card, f"{found.source.rpartition('/')[2]}/README.md")
            self.client.update_model_version(name, found.version, description=model_files.description(card))

    def _tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        number = self.get(name, version).version
        with explained(self.uri):
            for key, value in tags.items():
                self.client.set_model_version_tag(name, number, key, value)

    def create_model(self, name: str) -> None:
        """Have a registered model of this name; nothing happens when there is one."""
        from mlflow.exceptions import MlflowException

        with explained(self.uri):
            try:
                self.client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def by_digest(self, name: str, digest: str) -> Version | None:
        """The version of this content; None when there is none."""
        return next((version for version in self.versions(name) if version.digest == digest), None)
