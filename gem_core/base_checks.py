"""Can GEM train this model? Read from its configuration and tokenizer files, without loading weights.

GEM needs a decoder (causal language model) in safetensors, with a tokenizer that has a token to pad batches with.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gem_core.errors import GemError

if TYPE_CHECKING:
    from pathlib import Path

DECODER_SUFFIXES = ("ForCausalLM", "LMHeadModel")
"""How transformers names its decoders (``LlamaForCausalLM``, ``GPT2LMHeadModel``)."""
ENCODER_TYPES = ("bert", "roberta", "xlm-roberta", "electra", "camembert", "roformer", "megatron-bert", "ernie")
"""Families whose ``...LMHeadModel`` attends in both directions unless ``is_decoder`` is set."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def check(folder: Path, reference: str) -> None:
    """Refuse a configuration or tokenizer that GEM cannot work with; the weights may not be there yet.

    Args:
        folder: The model's files.
        reference: What the user called it, for the message.

    Raises:
        GemError: Not a decoder, no tokenizer, or neither a pad nor an end-of-text token.
    """
    config = read_config(folder, reference)
    if (folder / "adapter_config.json").is_file() or (folder / "gem.json").is_file():
        raise GemError(
            f"{reference} is an adapter or an already trained GEM model, not a base: name the model it was trained from"
        )
    architectures = config.get("architectures") or []
    decoder = any(name.endswith(DECODER_SUFFIXES) for name in architectures)
    if config.get("model_type") in ENCODER_TYPES and not config.get("is_decoder"):
        decoder = False
    if config.get("is_encoder_decoder") or not decoder:
        named = ", ".join(architectures) or "no architecture"
        raise GemError(
            f"{reference} is not a decoder language model (config.json names {named}): "
            "choose one whose architecture ends in ForCausalLM"
        )
    _check_tokenizer(folder, reference)


def check_weights(folder: Path, reference: str) -> None:
    """Refuse a folder without safetensors, or with one that is cut short or is none.

    Raises:
        GemError: No ``*.safetensors``; says so when there are pickled weights instead. Or a damaged one.
    """
    if any(folder.glob("*.safetensors")):
        check_whole(folder, reference)
        return
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickled:
        raise GemError(
            f"{reference} has only pickled weights ({pickled[0]}), which can run code when loaded: "
            "convert it to safetensors (transformers: model.save_pretrained)"
        )
    raise GemError(f"{reference} has no *.safetensors weights: check that it is a model, and that it was copied whole")


def check_whole(folder: Path, reference: str) -> None:
    """Refuse weights that are not as long as their headers say: takes a moment, however large they are.

    Raises:
        GemError: Naming the first damaged file.
    """
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise GemError(
                f"{path.name} of {reference} is damaged ({_one_line(error)}): copy or download it again"
            ) from error


def read_config(folder: Path, reference: str) -> dict[str, Any]:
    """``config.json`` as a dict.

    Raises:
        GemError: Missing or not JSON.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise GemError(f"{reference} has no config.json: it is not a transformers model")
    return _read_json(path, reference)


def license_of(folder: Path) -> str | None:
    """The licence in the card's front matter: its name where the field itself only says ``other``."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    from huggingface_hub import ModelCard

    try:
        data = ModelCard.load(card).data
    except ValueError:  # no front matter, or not YAML: a card without a licence field
        return None
    named = data.get("license_name")
    stated = named if data.license == "other" and named else data.license
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated) if stated else None


def _check_tokenizer(folder: Path, reference: str) -> None:
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise GemError(
            f"{reference} has no tokenizer ({', '.join(TOKENIZER_FILES)}): "
            "add the files of the tokenizer it was trained with"
        )
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.is_file():
            content = _read_json(path, reference)
            if content.get("pad_token") or content.get("eos_token"):
                return
    # Some tokenizer classes bring these tokens without naming them in the files (GPT-2's): only the class itself knows.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise GemError(
            f"the tokenizer of {reference} cannot be read ({_one_line(error)}): copy its files again"
        ) from error
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        raise GemError(
            f"the tokenizer of {reference} has neither a pad nor an eos token, so batches cannot be padded: "
            "set pad_token in its tokenizer_config.json"
        )


def _read_json(path: Path, reference: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise GemError(f"{path.name} of {reference} is not valid JSON ({_one_line(error)}): copy it again") from error
    if not isinstance(content, dict):
        raise GemError(f"{path.name} of {reference} is not a JSON object: copy it again")
    return content


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
