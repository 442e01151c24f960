"""What makes two models the same model: the digest of a model folder's content (DESIGN.md, decision 3)."""

import hashlib
from pathlib import Path

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
