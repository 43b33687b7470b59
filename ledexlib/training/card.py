"""The Markdown card of a trained model."""

from __future__ import annotations

from ledexlib.params import Params

SHARED = ("method", "lora_rank", "lora_alpha", "load_in_4bit")


def model_card(p: Params, prefix: str, title: str, about: str) -> str:
    """What the model is (title), what it was trained on and came to (about), and how: the parameters of this prefix."""
    names = [name for name in Params.model_fields if name.startswith(f"{prefix}_")]
    settings = "\n".join(f"| {name} | {getattr(p, name)} |" for name in (*names, *SHARED))
    return f"""---
base_model: {p.sft_model or p.model}
library_name: transformers
pipeline_tag: text-generation
tags: [ledex, {prefix}, trl]
---

# {p.sft_model or p.model}, {title}

Run `{p.run}`, seed {p.seed}. It answers a task with a program, and a wrong program with its feedback with a refinement,
explained first if asked to; the tokenizer's chat template and `ledexlib.models` have the format.

{about}

| setting | |
|-|-|
{settings}

Limits: its examples and rewards are programs that pass their tests, not programs proven right; nobody has read the
explanations. A model trained with the simulated teacher is for testing the method. The base model's licence applies.
"""
