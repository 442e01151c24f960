"""The transformers network under a GEM model: loading it, its adapter, its states and its output layer."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from gem_core.errors import GemError
from gem_core.method.batches import padded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gem_core.method.attention_mask import Mask
    from gem_core.recipe import Adaptation
    from gem_core.sources.rows import Tokens

    Network: TypeAlias = PreTrainedModel | PeftModel

DROPOUTS = (
    "attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout", "residual_dropout",
    "embedding_dropout", "hidden_dropout_prob", "dropout",
)  # fmt: skip


def load_network(folder: Path, *, dtype: torch.dtype, attention: str | None = None) -> PreTrainedModel:
    """A causal language model from a folder of safetensors, its own dropout off.

    GEM trains with LoRA's dropout alone: a network's own would make the divergence from the base noise.

    Args:
        folder: The model.
        dtype: Of the weights.
        attention: The backend; when None, ``sdpa``, or ``eager`` where the architecture has no other (Gemma 2).

    Raises:
        GemError: The folder does not load, or its architecture does not run on the backend.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for each load would run through every command's output
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        for name in DROPOUTS:
            if isinstance(getattr(config, name, None), float):
                setattr(config, name, 0.0)
        return AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        if "does not support an attention implementation" in reason:
            reason = f"{config.model_type} does not run on {attention}; every model runs with training.attention=eager"
        raise GemError(f"cannot load the model in {folder}: {reason}") from error
    finally:
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Raises:
        GemError: There is none that loads.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise GemError(f"cannot load the tokenizer in {folder}: {str(error).splitlines()[0]}") from error


def with_adapter(
    network: Network, adaptation: Adaptation, special_ids: Sequence[int], *, seed: int, reference: str
) -> PeftModel:
    """LoRA on every linear layer and, trained outright, the k new embedding rows (unless they are kept apart).

    Equal seeds give equal first values on every worker.

    Args:
        network: The base with its new rows; for the scope ``special`` as it is, since such an adapter has them itself.
        adaptation: Rank, alpha, dropout.
        special_ids: The new rows; the output rows follow where they are tied.
        seed: Of LoRA's first values.
        reference: What the adapter's configuration names as its base.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=adaptation.rank,
        lora_alpha=adaptation.alpha,
        lora_dropout=adaptation.dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in network.modules()),  # GPT-2's: [in, out]
        trainable_token_indices=list(special_ids) if special_ids and adaptation.scope == "all" else None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = get_peft_model(network, config, autocast_adapter_dtype=False)
    adapted.peft_config["default"].base_model_name_or_path = reference
    return adapted


def causal_lm(network: Network) -> PreTrainedModel:
    """The transformers model itself, with or without an adapter around it; an adapter acts in its layers."""
    from peft import PeftModel

    return network.get_base_model() if isinstance(network, PeftModel) else network


def hidden_states(network: Network, ids: Tensor, mask: Mask | None = None) -> Tensor:
    """Last-layer states [B, L, D] of right-padded ids [B, L].

    Without a mask the rows are plain causal and ``sdpa`` stays on its fast path: no mask of pads is passed, since no
    token sees what lies to its right.
    """
    decoder = causal_lm(network).get_decoder()
    return decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def in_calls(texts: Sequence[Tokens], device: torch.device, at_once: int = 40) -> Iterator[tuple[Tensor, Tensor]]:
    """Some texts at a time: right-padded ids [B, L], and which of them are no pads, [B, L]."""
    for start in range(0, len(texts), at_once):
        ids, lengths = (torch.from_numpy(part).to(device) for part in padded(texts[start : start + at_once], filler=0))
        yield ids, torch.arange(ids.shape[1], device=device) < lengths[:, None]


def checkpoint_activations(network: Network) -> None:
    """Keep no activations inside layers but compute them again on the way back."""
    options: dict[str, object] = {"use_reentrant": False}
    activation = getattr(network, "activation", None)  # of gem_core.method.activated_adapter
    if activation is not None:
        options["context_fn"] = activation.checkpointed
    causal_lm(network).activation_checkpointing_enable(options)


@contextlib.contextmanager
def adapter_off(network: PeftModel) -> Iterator[None]:
    """The base model: the same weights with the adapter switched off (no second copy in memory)."""
    layers = network.base_model  # peft's own context manager inspects every layer first, which costs as much as a layer
    layers.disable_adapter_layers()
    try:
        yield
    finally:
        layers.enable_adapter_layers()


@dataclass(frozen=True)
class OutputLayer:
    """Last-layer states [N, D] to logits [N, V], without making a copy of the [V, D] matrix for its k trained rows."""

    weight: Tensor
    bias: Tensor | None
    ids: Tensor | None
    """Which rows are replaced by ``rows``, [k]."""
    rows: Tensor | None
    """[k, D]"""
    factor: float
    cap: float | None

    def __call__(self, states: Tensor) -> Tensor:
        """Logits [N, V]."""
        logits = functional.linear(states, self.weight, self.bias)
        if self.ids is not None and self.rows is not None:
            bias = None if self.bias is None else self.bias[self.ids]
            logits = logits.index_copy(-1, self.ids, functional.linear(states, self.rows, bias).to(logits.dtype))
        if self.factor != 1.0:
            logits = logits * self.factor
        if self.cap is not None:
            logits = torch.tanh(logits / self.cap) * self.cap
        return logits


def output_layer(network: Network, *, base: bool = False) -> OutputLayer:
    """The output layer, of the base if asked, with what the architecture does to logits (Gemma, Granite, Cohere)."""
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    model = causal_lm(network)
    layer = model.get_output_embeddings()
    adapter = getattr(layer, "token_adapter", None)
    ids = rows = None
    if isinstance(adapter, TrainableTokensLayer):
        layer = adapter.get_base_layer()
        if not base and not adapter.merged:
            ids = torch.tensor(adapter.token_indices["default"], device=layer.weight.device)
            rows = adapter.trainable_tokens_delta["default"]
    config = model.config
    divisor = getattr(config, "logits_scaling", None) or 1.0
    factor = (getattr(config, "logit_scale", None) or 1.0) / divisor
    cap = getattr(config, "final_logit_softcapping", None)
    return OutputLayer(layer.weight, getattr(layer, "bias", None), ids, rows, float(factor), cap)


@torch.no_grad()
def check_output_layer(network: Network, vocabulary: int) -> None:
    """Compare :func:`output_layer` with the network's own logits.

    Raises:
        GemError: The architecture does something to its logits that we do not know.
    """
    ids = torch.arange(min(8, vocabulary), device=next(network.parameters()).device)[None]
    own = causal_lm(network)(input_ids=ids, use_cache=False).logits.float()
    ours = output_layer(network)(hidden_states(network, ids)).float()
    if not torch.allclose(own, ours, rtol=0.05, atol=0.01 * float(own.abs().max())):
        raise GemError(
            f"the architecture {causal_lm(network).config.model_type} changes its logits in a way GEM does not know; "
            "use another base model"
        )
