"""The files of a registered model: artifacts of its MLflow run, checked by digest when stored and when fetched."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gem_core.base_checks import check_whole
from gem_core.errors import GemError
from gem_core.identity import content_digest, folder_digest
from gem_core.records.flavour import write_flavour

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlflow import MlflowClient

    from gem_core.records.versions import Version
    from gem_core.settings import Settings


DESCRIPTION_LIMIT = 5000
"""Characters that MLflow's tables hold of a version's description (PostgreSQL refuses more)."""


def checked_digest(folder: Path, expected: str | None) -> str:
    """The content digest of a folder that is whole, and the one that is expected where one is.

    Raises:
        GemError: Damaged weights, or another content.
    """
    check_whole(folder, str(folder))
    digest = content_digest(folder)
    if expected is not None and digest != expected:
        raise GemError(
            f"{folder} was changed since it was trained (digest {digest[:12]}, not {expected[:12]}): "
            "remove the folder and run again"
        )
    return digest


def description(card: str) -> str:
    """A card as far as MLflow's tables hold it; the whole is in the version's ``README.md``."""
    note = "\n\n… (cut here; README.md has the whole)"
    return card if len(card) <= DESCRIPTION_LIMIT else card[: DESCRIPTION_LIMIT - len(note)] + note


def store(client: MlflowClient, run_id: str, folder: Path, digest: str, versions: Iterable[Version]) -> str:
    """Copy a model to the artifacts of its run with its pyfunc flavour, unless it is there, and check the copy.

    Args:
        client: The MLflow store.
        run_id: The run that made it.
        folder: The model's files.
        digest: Their content digest.
        versions: Those registered so far: their files are never touched.

    Returns:
        The address of the copy, for the version's ``source``.

    Raises:
        GemError: The disk is full, or the copy is not whole.
    """
    root = client.get_run(run_id).info.artifact_uri
    taken = {version.source: version.digest for version in versions}
    place = "model"
    if taken.get(f"{root}/{place}", digest) != digest:  # the run has already made another version
        place = f"model-{digest[:12]}"
    source = f"{root}/{place}"
    local = local_path(source)
    if local is not None and local.is_dir():
        if content_digest(local) == digest:
            return source
        shutil.rmtree(local)  # what an interrupted copy left
    try:
        with tempfile.TemporaryDirectory() as flavour:  # before the weights: where these are whole, nothing is missing
            write_flavour(Path(flavour), digest)
            client.log_artifacts(run_id, flavour, place)
        client.log_artifacts(run_id, str(folder), place)
    except OSError as error:
        raise GemError(
            f"the model cannot be stored in {root} ({error.strerror or error}): free some space, then run again"
        ) from error
    whole = content_digest(local) == digest if local is not None else _sizes_agree(client, run_id, place, folder)
    if not whole:
        raise GemError(f"the copy of the model in {source} is not whole: run again")
    return source


def fetch(version: Version, settings: Settings, uri: str) -> Path:
    """The files of a version: in place when the store is on this machine, else a copy kept by digest.

    Args:
        version: Which.
        settings: Where copies are kept.
        uri: The tracking server, which may hand out the artifacts.

    Raises:
        GemError: Out of reach, or the files are not those that were registered.
    """
    folder = local_path(version.source) or _copy(version, settings, uri)
    if not folder.is_dir():
        raise GemError(f"the files of {version.reference} are not at {folder}: is its store on another machine?")
    if version.digest and folder_digest(folder, settings) != version.digest:
        raise GemError(
            f"the files of {version.reference} in {folder} are not those that were registered "
            f"(digest {version.digest[:12]}): restore them, or register the model again"
        )
    return folder


def local_path(source: str) -> Path | None:
    """The path behind an artifact address on this machine; None for one that has to be fetched."""
    if source.startswith("file:"):
        return Path(unquote(urlsplit(source).path))
    return Path(source) if source.startswith("/") else None


def _copy(version: Version, settings: Settings, uri: str) -> Path:
    from gem_core.records.mlflow_connection import download

    name = version.digest or hashlib.sha256(version.source.encode()).hexdigest()
    folder = settings.home / "models" / "registry" / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as partial:
            whole = download(uri, version.source, Path(partial))
            try:
                whole.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    except OSError as error:
        raise GemError(
            f"the files of {version.reference} cannot be fetched to {folder.parent} ({error.strerror or error}): "
            "free some space, then try again"
        ) from error
    return folder


def _sizes_agree(client: MlflowClient, run_id: str, place: str, folder: Path) -> bool:
    """Is every file in a remote store as long as here? Its bytes are checked by digest whenever they are fetched."""
    sizes = {Path(item.path).name: item.file_size for item in client.list_artifacts(run_id, place)}
    return all(sizes.get(path.name) == path.stat().st_size for path in folder.iterdir() if path.is_file())
