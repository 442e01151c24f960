"""Where models come from: a hub, an S3 prefix, a folder, the sandbox, the registry.

:func:`resolve` pins a base model for a run and refuses what GEM cannot train, before anything large is downloaded where
the source allows it. :func:`locate` finds the folder behind any MODEL argument of the command. Neither loads weights
nor imports torch.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gem_core import base_checks
from gem_core.errors import GemError
from gem_core.identity import folder_digest
from gem_core.sources import buckets, hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from gem_core.recipe import BaseModelSource
    from gem_core.settings import Settings

    Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class ResolvedModel:
    """A base model pinned for a run: this state of it and no other."""

    reference: str
    """The source as the recipe names it."""
    revision: str
    """The full hub commit; the digest where the source knows no commits."""
    folder: Path
    """Weights, configuration and tokenizer on this machine."""
    digest: str
    """:func:`gem_core.identity.content_digest` of the folder."""
    license: str | None
    """As the model's card states it."""

    def to_json(self) -> dict[str, str | None]:
        """A JSON-ready dict, the folder as a string."""
        return {**asdict(self), "folder": str(self.folder)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ResolvedModel:
        """The inverse of :meth:`to_json`."""
        return cls(**{**content, "folder": Path(content["folder"])})


def resolve(source: BaseModelSource, settings: Settings, *, progress: Progress | None = None) -> ResolvedModel:
    """Fetch a base model, pin its state and check that GEM can train it.

    Args:
        source: The recipe's ``base_model``.
        settings: Where downloads are kept.
        progress: Called with what is happening and the share done, 0 to 1.

    Returns:
        The model pinned: equal content has an equal digest, wherever it came from.

    Raises:
        GemError: Unknown or unreachable, no safetensors, not a decoder, no tokenizer, or none that can pad.
    """
    name = source.source
    revision = source.revision
    if revision is not None and kind_of(name) != "hub":
        raise GemError(
            f"base_model.revision ({revision}) only means something for a hub model, not for {name}; unset it"
        )
    commit = None
    if kind_of(name) == "hub":
        fetched = hub.fetch(
            name, revision, settings.home / "models" / "hub", check=base_checks.check, progress=progress
        )
        folder, commit = fetched.folder, fetched.commit
    else:
        folder = _fetch(name, settings, progress)
    base_checks.check(folder, name)
    base_checks.check_weights(folder, name)
    digest = folder_digest(folder, settings)
    return ResolvedModel(name, commit or digest, folder, digest, base_checks.license_of(folder))


def locate(reference: str, settings: Settings, *, progress: Progress | None = None) -> Path:
    """The folder behind any MODEL argument: base model or trained, checked for weights only.

    Args:
        reference: A folder, ``models:/NAME/VERSION``, ``models:/NAME@ALIAS``, ``sandbox:SEED``, ``s3://bucket/prefix``
            or a hub id, ``@REVISION`` after it if wanted.
        settings: Where downloads are kept, and which registry is asked.
        progress: Called with what is happening and the share done, 0 to 1.

    Raises:
        GemError: Nothing there, or no weights in it.
    """
    kind = kind_of(reference)
    if kind == "registry":
        from gem_core.records.registry import Registry  # imports mlflow, which takes seconds

        folder = Registry(settings).download_uri(reference)
    elif kind == "hub":
        name, _, revision = reference.partition("@")
        folder = hub.fetch(name, revision or None, settings.home / "models" / "hub", progress=progress).folder
    else:
        folder = _fetch(reference, settings, progress)
    base_checks.check_weights(folder, reference)
    return folder


def kind_of(reference: str) -> str:
    """``sandbox``, ``s3``, ``registry``, ``folder`` or ``hub``: an existing folder wins over a hub id of its name."""
    for prefix, kind in (("sandbox:", "sandbox"), ("s3://", "s3"), ("models:/", "registry")):
        if reference.startswith(prefix):
            return kind
    path_like = reference.startswith(("/", "./", "../", "~")) or Path(reference).expanduser().is_dir()
    return "folder" if path_like else "hub"


def sandbox_seed(reference: str) -> int:
    """The seed in ``sandbox:SEED``.

    Raises:
        GemError: Not a whole number.
    """
    match = re.fullmatch(r"sandbox:(\d{1,9})", reference)
    if match is None:
        raise GemError(f"{reference!r} is no sandbox: write sandbox:SEED with a whole number, for example sandbox:1")
    return int(match[1])


def _fetch(reference: str, settings: Settings, progress: Progress | None) -> Path:
    """The folder behind a sandbox, an S3 prefix or a path."""
    match kind_of(reference):
        case "sandbox":
            from gem_core import sandbox  # imports torch when it has to pre-train the base

            return sandbox.build(settings.home, sandbox_seed(reference), progress=progress).base_model
        case "s3":
            return buckets.download(reference, settings.home / "models" / "s3", progress=progress)
        case "folder":
            folder = Path(reference).expanduser().resolve()
            if not folder.is_dir():
                raise GemError(
                    f"model folder {reference} does not exist: check the path, or give a hub id or s3://bucket/prefix"
                )
            return folder
        case _:
            raise GemError(
                f"{reference} cannot be a base model: give a hub id, s3://bucket/prefix, a folder or sandbox:SEED"
            )
