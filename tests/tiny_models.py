"""Tiny checkpoints with their own tokenizer, made in a second, for tests that need a real model but not a good one."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

CONTEXT = 160  # tokens
CORPUS = [
    "def add(a, b):\n    return a + b\n",
    "Task: Write a function.\n[BEGIN]\nfor x in items:\n    total += x\n[DONE]\n",
]
torch.set_num_threads(1)  # more only get into each other's way on models so small


def make_tokenizer(special: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; the first special token ends a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[0], additional_special_tokens=special[1:]
    )


def make_checkpoint(
    kind: str, folder: Path, special: tuple[str, ...] = ("<|endoftext|>",), context: int = CONTEXT, scale: float = 6
) -> Path:
    """A random ``llama``, ``qwen2``, ``starcoder2`` or ``gpt_bigcode`` model.

    Its weights are ``scale`` times as large as usual: with 6, greedy choices are clear.
    """
    tokenizer = make_tokenizer(list(special))
    tokenizer.save_pretrained(folder)
    common = {"vocab_size": len(tokenizer), "eos_token_id": 0, "bos_token_id": None}
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=context, **sizes, **common))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(
            Qwen2Config(max_position_embeddings=context, num_key_value_heads=2, **sizes, **common)
        )
    elif kind == "starcoder2":
        model = Starcoder2ForCausalLM(
            Starcoder2Config(max_position_embeddings=context, num_key_value_heads=2, **sizes, **common)
        )
    else:
        model = GPTBigCodeForCausalLM(GPTBigCodeConfig(n_positions=context, n_embd=48, n_layer=2, n_head=4, **common))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(scale)
    model.save_pretrained(folder)
    return folder
