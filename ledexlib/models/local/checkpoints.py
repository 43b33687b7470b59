"""A checkpoint to be trained: its chat template, weights and adapters, and the folder that it becomes.

A model whose tokenizer has a chat template is trained in that. Any other gets StarChat's (``CHAT_TEMPLATE``), whose
markers become special tokens; their embeddings start as the mean of what the marker's text was made of."""

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from ledexlib.models.interface import checkpoint_path
from ledexlib.models.local.generator import end_of_turn, end_tokens
from ledexlib.models.prompts import CHAT_TEMPLATE, Message
from ledexlib.params import ParameterError, Params

END = "<|end|>"
MARKERS = ("<|system|>", "<|user|>", "<|assistant|>", END)


def base_checkpoint(p: Params) -> str:
    """The model that is fine-tuned, as the parameters name it."""
    return p.sft_model or p.model


def check_4bit(p: Params) -> None:
    """Raise ParameterError if the parameters ask for weights in 4 bits that cannot be had."""
    if p.load_in_4bit and p.method != "lora":
        raise ParameterError("load_in_4bit = True: weights in 4 bits stay frozen; set method to 'lora'")
    if p.load_in_4bit and not torch.cuda.is_available():
        raise ParameterError("load_in_4bit = True: needs a GPU, and none is visible")
    if p.load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
        raise ParameterError("load_in_4bit = True: needs the package bitsandbytes: pip install bitsandbytes")


def _loaded(what: str, kind: Any, name: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(checkpoint_path(name), **options)
    except (OSError, ValueError) as error:
        raise ParameterError(f"no {what} could be loaded: {' '.join(str(error).split())}") from error


class ChatTokenizer:
    """The tokenizer of a model to train, with a chat template; ``new`` maps added tokens to their texts' pieces."""

    def __init__(self, name: str) -> None:
        self.tokenizer = _loaded(f"tokenizer of '{name}'", AutoTokenizer, name)
        self.new: dict[int, list[int]] = {}
        tokenizer = self.tokenizer
        if tokenizer.chat_template is not None:
            return
        known = tokenizer.get_vocab()
        pieces = {m: tokenizer(m, add_special_tokens=False)["input_ids"] for m in MARKERS if m not in known}
        starts = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        tokenizer.add_tokens(list(pieces), special_tokens=True)
        tokenizer.chat_template = ("{{ bos_token }}" if starts else "") + CHAT_TEMPLATE
        tokenizer.eos_token = END
        self.new = {tokenizer.convert_tokens_to_ids(marker): ids for marker, ids in pieces.items()}

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation."""
        return len(self.tokenizer.apply_chat_template(list(messages), return_dict=True)["input_ids"])


def _load(name: str, chat: ChatTokenizer, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
    """The model, with an embedding for each of the tokenizer's tokens; raises ParameterError if there is none."""
    model = _loaded(f"model '{name}'", AutoModelForCausalLM, name, dtype=dtype, **options)
    if len(chat.tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(chat.tokenizer), mean_resizing=False)
    with torch.no_grad():
        for layer in _token_layers(model).values():
            for token, pieces in chat.new.items():
                layer.weight[token] = layer.weight[pieces].mean(dim=0)
    ends = [*end_of_turn(chat.tokenizer)[0], chat.tokenizer.eos_token_id, *end_tokens(model.generation_config)]
    model.generation_config.eos_token_id = list(dict.fromkeys(ends))
    model.generation_config.do_sample = True  # servers drop a request's temperature otherwise
    return model


def load_trainable(p: Params, chat: ChatTokenizer) -> PreTrainedModel:
    """The model in the precision it is trained in: frozen weights in bfloat16 or 4 bits on a GPU, others in float32.

    Raises ParameterError if it reads less than ``sft_max_length`` tokens."""
    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu and p.method == "lora" else torch.float32
    options: dict[str, Any] = {}
    if p.load_in_4bit:
        nested = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, **nested)
        options = {"quantization_config": four_bits, "device_map": {"": int(os.environ.get("LOCAL_RANK", 0))}}
    model = _load(base_checkpoint(p), chat, dtype, **options)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and p.sft_max_length > context:
        said = f"{base_checkpoint(p)} reads at most {context} tokens; set sft_max_length to {context} or less"
        raise ParameterError(f"sft_max_length = {p.sft_max_length}: {said}")
    return model


def lora_config(p: Params, model: Any = None, chat: ChatTokenizer | None = None) -> LoraConfig | None:
    """The LoRA adapters that the parameters ask for; with a tokenizer the model's added tokens are trained too."""
    if p.method == "full":
        return None
    trained = {name: sorted(chat.new) for name in _token_layers(model)} if chat and chat.new else None
    return LoraConfig(
        r=p.lora_rank, lora_alpha=p.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM",
        trainable_token_indices=trained)


def expose_head_bias(model: PreTrainedModel | PeftModel) -> None:
    """Give peft's wrapper around a head whose added tokens are trained the bias that trl's fused head looks for."""
    head = model.get_output_embeddings()
    if not hasattr(head, "bias"):
        head.bias = head.original_module.bias


def export_checkpoint(p: Params, base: str, trained: Path, chat: ChatTokenizer, card: str, to: Path) -> None:
    """Make an ordinary transformers folder, at once, of what a trainer saved; adapters are merged into ``base``.

    The weights are in bfloat16 where they were trained on a GPU, else in float32."""
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    if p.method == "lora":  # merged into weights that were never in 4 bits
        model = PeftModel.from_pretrained(_load(base, chat, dtype), trained).merge_and_unload()
    else:
        model = AutoModelForCausalLM.from_pretrained(trained, dtype=dtype)
    save_checkpoint(model, chat.tokenizer, card, to)


def save_checkpoint(model: PreTrainedModel, tokenizer: Any, card: str, to: Path) -> None:
    """Write a model, its tokenizer and its card as an ordinary transformers folder, whole or not at all."""
    unfinished = to.with_name(f".{to.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    (unfinished / "README.md").write_text(card, encoding="utf-8")
    os.replace(unfinished, to)


def _token_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """The layers with a row for each token, by the last part of their names: the embeddings, and a head of its own."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    found = [embeddings] if head.weight is embeddings.weight else [embeddings, head]
    return {name.rpartition(".")[2]: layer for layer in found for name, m in model.named_modules() if m is layer}
