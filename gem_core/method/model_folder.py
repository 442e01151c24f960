"""``gem.json`` and the folder around it: what makes a folder of weights a GEM model (DESIGN.md, decision 3).

Nothing in the folder depends on when, where or by whom it was written: its content digest is the model's identity.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gem_core.errors import GemError
from gem_core.method.network import load_network
from gem_core.method.special_tokens import initialise_rows
from gem_core.recipe import BaseModelSource, SpecialTokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from transformers import PreTrainedTokenizerBase

    from gem_core.method.network import Network
    from gem_core.settings import Settings

FILE, SPECIAL_ROWS = "gem.json", "special_rows.safetensors"


class BaseReference(BaseModel):
    """The base model of a GEM model, named so that any machine can find it and check that it is the one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    revision: str
    digest: str
    license: str | None = None


class Description(BaseModel):
    """The content of ``gem.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    weights: Literal["adapter", "full"]
    scope: Literal["all", "special"] = "all"
    """Where the adapter acts: on every token, or at the special tokens alone (lossless)."""
    base: BaseReference
    special_tokens: SpecialTokens
    seed: int
    """Of the special tokens' first values, which the base's untied output rows keep."""
    recipe: dict[str, Any] | None = None
    """The part of the recipe that shaped the weights."""


def read(folder: Path) -> Description | None:
    """The description of a GEM model; None for a plain base model.

    Raises:
        GemError: ``gem.json`` is damaged or of a later format.
    """
    try:
        content = (folder / FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return Description.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise GemError(
            f"{folder / FILE}: {where}: {first['msg']}; the model was saved by another version, or damaged"
        ) from error


def write(folder: Path, description: Description) -> None:
    """Write ``gem.json``, byte for byte the same for the same description."""
    content = json.dumps(description.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / FILE).write_text(content + "\n", encoding="utf-8")


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the name ``folder`` when the block ends well, and vanishes otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        yield draft
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            folder.replace(old)
            draft.replace(folder)
            shutil.rmtree(old)
        else:
            draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load_weights(
    folder: Path,
    description: Description,
    ids: tuple[int, ...],
    settings: Settings,
    dtype: torch.dtype,
    attention: str | None,
) -> Network:
    """The network a description is of; an adapter is put on the base it was trained on, and merged if it acts on all.

    Args:
        folder: The model folder.
        description: Its ``gem.json``.
        ids: Its special tokens.
        settings: Where a base is looked for.
        dtype: Of the weights.
        attention: The attention backend.

    Raises:
        GemError: The base is gone, or another one now.
    """
    if description.weights == "full":
        return load_network(folder, dtype=dtype, attention=attention)
    from peft import PeftModel

    from gem_core.sources.models import kind_of, resolve

    named = description.base
    revision = named.revision if kind_of(named.reference) == "hub" else None
    base = resolve(BaseModelSource(source=named.reference, revision=revision), settings)
    if base.digest != named.digest:
        raise GemError(
            f"{folder} was trained on {named.reference} with digest {named.digest[:12]}, but that is now "
            f"{base.digest[:12]}; restore the base it was trained on"
        )
    network = load_network(base.folder, dtype=dtype, attention=attention)
    if description.scope == "all":
        initialise_rows(network, ids, description.special_tokens, seed=description.seed)
    adapted = PeftModel.from_pretrained(network, str(folder), autocast_adapter_dtype=False, local_files_only=True)
    if description.scope == "all":
        trained = tuple(adapted.peft_config["default"].trainable_token_indices or ())
        if trained != ids:
            raise GemError(
                f"the tokenizer in {folder} gives the special tokens the ids {ids}, the adapter was trained with "
                f"{trained}; restore the tokenizer it was saved with"
            )
        adapted.merge_adapter()
    else:
        from gem_core.method.activated_adapter import activate

        activate(adapted, ids, _special_rows(folder))
    return adapted


def write_weights(folder: Path, network: Network, description: Description) -> None:
    """Write the network a description is of: all of it, or its adapter."""
    if description.weights == "full":
        network.save_pretrained(folder, safe_serialization=True)
        return
    for settings in network.peft_config.values():
        settings.target_modules = sorted(settings.target_modules)  # a set's order would change the saved bytes
    # "auto" would store the whole embedding matrix, which has grown, or ask the hub about it
    network.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's card; ours is written by gem_core.model_card
    if description.scope == "special":
        from gem_core.method.activated_adapter import special_rows

        save_file({"rows": special_rows(network).detach().cpu().contiguous()}, folder / SPECIAL_ROWS)


def write_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the tokenizer as it cuts and pads nothing by itself: it remembers how it was last asked to."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


def _special_rows(folder: Path) -> torch.Tensor:
    try:
        return load_file(folder / SPECIAL_ROWS)["rows"]
    except (OSError, KeyError, SafetensorError) as error:
        raise GemError(f"{folder / SPECIAL_ROWS} is damaged or missing; fetch or train the model again") from error
