"""What makes two models the same model: the digest of a model folder's content (DESIGN.md, decision 3)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gem_core.settings import Settings

REMEMBER_DIGESTS_FROM = 2**30
"""Bytes from which a folder's digest is remembered between runs: hashing 16 GB takes half a minute."""
CONTENT_SUFFIXES = (".safetensors", ".json", ".model", ".txt", ".jinja")


def file_digest(path: Path) -> str:
    """64 hex digits: the SHA-256 of one file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_digest(folder: Path) -> str:
    """64 hex digits over the names and contents of weights, configuration and tokenizer.

    Files that only talk about the model (a card, a licence) do not count, nor does anything in a hidden folder:
    rewriting a card must not make a new model.
    """
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and path.suffix in CONTENT_SUFFIXES and not hidden:
            whole.update(f"{name.as_posix()}\0{file_digest(path)}\0".encode())
    return whole.hexdigest()


def folder_digest(folder: Path, settings: Settings) -> str:
    """:func:`content_digest`, remembered for large folders while sizes and times of their files stay the same."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in CONTENT_SUFFIXES]
    states = [(path, path.stat()) for path in files]
    if sum(state.st_size for _, state in states) < REMEMBER_DIGESTS_FROM:
        return content_digest(folder)
    listing = "\n".join(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}" for path, state in states)
    note = settings.home / "models" / "digests" / hashlib.sha256(f"{folder.resolve()}\n{listing}".encode()).hexdigest()
    if note.is_file() and re.fullmatch(r"[0-9a-f]{64}", text := note.read_text()):
        return text
    digest = content_digest(folder)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(digest)
    return digest
