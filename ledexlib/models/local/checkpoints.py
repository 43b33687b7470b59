"""A checkpoint to be trained: its chat format, its weights, its adapters, and the folder it becomes.

A model whose tokenizer has a chat template is trained in that. Any other gets StarChat's (``prompts.CHAT_TEMPLATE``),
whose markers become special tokens; their embeddings start as the mean of what the marker's text was made of.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from ledexlib.models.local.generator import end_of_turn
from ledexlib.mini import BACKBONE
from ledexlib.params.layers import ParameterError
from ledexlib.models.prompts import CHAT_TEMPLATE, Message
from ledexlib.params.vocabulary import Params

END = "<|end|>"
MARKERS = ("<|system|>", "<|user|>", "<|assistant|>", END)


def trained_name(p: Params) -> str:
    """The checkpoint that is fine-tuned, as the parameters name it."""
    return p.sft_model or p.model


def check(p: Params) -> None:
    """Raise ParameterError for settings that cannot train, before any work."""
    if p.load_in_4bit and p.sft_method != "lora":
        raise ParameterError("load_in_4bit = True: weights in 4 bits stay frozen; set sft_method to 'lora'")
    if p.load_in_4bit and not torch.cuda.is_available():
        raise ParameterError("load_in_4bit = True: needs a GPU, and none is visible")
    if p.load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
        raise ParameterError("load_in_4bit = True: needs the package bitsandbytes: pip install bitsandbytes")


class ChatTokenizer:
    """The tokenizer of the model to train, with a chat format; ``new`` maps added tokens to their texts' pieces."""

    def __init__(self, name: str) -> None:
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(_path(name))
        except (OSError, ValueError) as error:
            raise ParameterError(f"no tokenizer of '{name}' could be loaded: {' '.join(str(error).split())}") from error
        self.new: dict[int, list[int]] = {}
        if self.tokenizer.chat_template is None:
            self._add_chat_format()

    def _add_chat_format(self) -> None:
        tokenizer = self.tokenizer
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


def load(name: str, chat: ChatTokenizer, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
    """The model, with an embedding for each of the tokenizer's tokens; raises ParameterError if there is none."""
    try:
        model = AutoModelForCausalLM.from_pretrained(_path(name), dtype=dtype, **options)
    except (OSError, ValueError) as error:
        raise ParameterError(f"no model '{name}' could be loaded: {' '.join(str(error).split())}") from error
    if len(chat.tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(chat.tokenizer), mean_resizing=False)
    heads = {id(module.weight): module.weight for module in _token_layers(model).values()}  # tied ones once
    with torch.no_grad():
        for weight in heads.values():
            for token, pieces in chat.new.items():
                weight[token] = weight[pieces].mean(dim=0)
    turn_ends, _ = end_of_turn(chat.tokenizer)
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    model.generation_config.eos_token_id = list(dict.fromkeys([*turn_ends, chat.tokenizer.eos_token_id, *ends]))
    model.generation_config.do_sample = True  # servers drop a request's temperature otherwise
    return model


def load_to_train(p: Params, chat: ChatTokenizer) -> PreTrainedModel:
    """The model in the precision it is trained in: frozen weights in bfloat16 or 4 bits on a GPU, others in float32.

    Raises ParameterError if it reads less than ``sft_max_length`` tokens.
    """
    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu and p.sft_method == "lora" else torch.float32
    options: dict[str, Any] = {}
    if p.load_in_4bit:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )  # fmt: skip
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", 0))}
    model = load(trained_name(p), chat, dtype, **options)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and p.sft_max_length > context:
        raise ParameterError(
            f"sft_max_length = {p.sft_max_length}: {trained_name(p)} reads at most {context} tokens; "
            f"set sft_max_length to {context} or less"
        )
    return model


def adapters(p: Params, model: PreTrainedModel, chat: ChatTokenizer) -> LoraConfig | None:
    """The LoRA adapters that the parameters ask for; the embeddings of added tokens are trained beside them."""
    if p.sft_method == "full":
        return None
    trained = {name: sorted(chat.new) for name in _token_layers(model)} if chat.new else None
    return lora(p, lora_dropout=p.sft_lora_dropout, trainable_token_indices=trained)


def lora(p: Params, **options: Any) -> LoraConfig:
    """Adapters of the rank and at the modules that the parameters name."""
    all_linear = p.sft_lora_targets == ["all-linear"]
    return LoraConfig(
        r=p.sft_lora_rank, lora_alpha=p.sft_lora_alpha, task_type="CAUSAL_LM",
        target_modules="all-linear" if all_linear else p.sft_lora_targets, **options,
    )  # fmt: skip


def show_bias(model: PreTrainedModel | PeftModel) -> None:
    """Give peft's wrapper around a head whose added tokens are trained the bias that trl's fused head looks for."""
    head = model.get_output_embeddings()
    if not hasattr(head, "bias"):
        head.bias = head.original_module.bias


def export(p: Params, trained: Path, chat: ChatTokenizer, card: str, to: Path) -> None:
    """Make an ordinary transformers folder, at once, of what the trainer saved; adapters are merged into the weights.

    The weights are in bfloat16 where they were trained on a GPU, else in float32.
    """
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    if p.sft_method == "lora":  # merged into weights that were never in 4 bits
        model = PeftModel.from_pretrained(load(trained_name(p), chat, dtype), trained).merge_and_unload()
    else:
        model = AutoModelForCausalLM.from_pretrained(trained, dtype=dtype)
    save_folder(model, chat.tokenizer, card, to)


def save_folder(model: PreTrainedModel, tokenizer: Any, card: str, to: Path) -> None:
    """Write a model, its tokenizer and its card as an ordinary transformers folder, whole or not at all."""
    unfinished = to.with_name(f".{to.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    (unfinished / "README.md").write_text(card, encoding="utf-8")
    os.replace(unfinished, to)


def _path(name: str) -> str | Path:
    return BACKBONE if name == "mini" else name


def _token_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """The layers with a row for each token, by the last part of their names: the embeddings, and a head of its own."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    found = [embeddings] if head.weight is embeddings.weight else [embeddings, head]
    return {name.rpartition(".")[2]: layer for layer in found for name, m in model.named_modules() if m is layer}
