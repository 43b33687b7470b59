"""Train the mini world's backbone from scratch: ``python -m ledexlib.mini.pretrain --out FOLDER``.

A Llama of about two million parameters learns the sloppy corpus of ``ledexlib.mini.corpus``. The run is seeded;
killed, it goes on from its last checkpoint with the same batches. ``FOLDER`` becomes an ordinary transformers
checkpoint whose ``training.json`` says how it was made.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ledexlib.mini.corpus import documents
from ledexlib.models import CHAT_TEMPLATE

END, PAD = "<|end|>", "<|pad|>"
SPECIAL = [PAD, END, "<|user|>", "<|assistant|>", "<|system|>"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 0
    tokens: int = 6_760_000
    vocabulary: int = 1536
    tokenizer_documents: int = 4000
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    feed_forward: int = 512
    context: int = 2048
    sequence: int = 768
    batch: int = 4
    learning_rate: float = 2e-3
    warm_up: int = 100
    decay: float = 0.2  # share of the steps over which the learning rate falls to zero
    weight_decay: float = 0.1

    @property
    def steps(self) -> int:
        return self.tokens // (self.sequence * self.batch)


def train_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with single digits and the chat markers, trained on the first documents."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    first = islice(documents(recipe.seed), recipe.tokenizer_documents)
    texts = ("".join(text for text, _ in document) for document in first)
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, padding_side="left",
        model_max_length=recipe.context, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip


def encode_corpus(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> tuple[np.ndarray, np.ndarray]:
    """The corpus as token ids and as whether each is learned, both of shape (steps × batch, sequence).

    Parts of a document are tokenised one by one, as a prompt and its completion are at generation. The corpus of a
    longer recipe begins with that of a shorter one.
    """
    needed = recipe.steps * recipe.batch * recipe.sequence
    ids, learned = np.empty(needed, dtype=np.uint16), np.empty(needed, dtype=bool)
    filled, end = 0, (END, True)
    source = documents(recipe.seed)
    with tqdm(total=needed, desc="writing the corpus", unit="token", unit_scale=True, mininterval=2) as bar:
        while filled < needed:
            parts = [part for document in islice(source, 256) for part in (*document, end)]
            for row, (_, answer) in zip(tokenizer([text for text, _ in parts])["input_ids"], parts, strict=True):
                row = row[: needed - filled]
                ids[filled : filled + len(row)], learned[filled : filled + len(row)] = row, answer
                filled += len(row)
                bar.update(len(row))
    shape = (recipe.steps * recipe.batch, recipe.sequence)
    return ids.reshape(shape), learned.reshape(shape)


def prepare(recipe: Recipe, work: Path) -> tuple[PreTrainedTokenizerFast, tuple[np.ndarray, np.ndarray]]:
    """Tokenizer and corpus of a run, made once and kept in its work folder until it ends."""
    kept = work / "corpus.npz"
    if not kept.exists():
        tokenizer = train_tokenizer(recipe)
        tokenizer.save_pretrained(work / "tokenizer")
        ids, learned = encode_corpus(recipe, tokenizer)
        np.savez(work / "new.npz", ids=ids, learned=learned)
        (work / "new.npz").replace(kept)
    stored = np.load(kept)
    return PreTrainedTokenizerFast.from_pretrained(work / "tokenizer"), (stored["ids"], stored["learned"])


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.hidden, intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, a constant stretch, and a linear decay to zero over the last part of the run."""
    decay_steps = round(recipe.decay * recipe.steps)
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up, (recipe.steps - step) / max(1, decay_steps))


def save_checkpoint(path: Path, model, optimizer, **progress) -> None:
    """Replace the checkpoint atomically: a kill leaves the old one or the new one."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **progress}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def train(
    recipe: Recipe, model: LlamaForCausalLM, corpus: tuple[np.ndarray, np.ndarray], checkpoint: Path, every: int = 200
) -> tuple[list[float], float]:
    """Train to the end of the recipe, from the checkpoint if there is one.

    Returns the loss of each step in nats and the seconds spent, those before a kill included.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)
    start, losses, spent, began = 0, [], 0.0, time.monotonic()
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start, losses, spent = state["step"], state["losses"], state["spent"]
    bar = tqdm(range(start, recipe.steps), initial=start, total=recipe.steps, desc="training", mininterval=2)
    for step in bar:
        rows = slice(step * recipe.batch, (step + 1) * recipe.batch)
        ids, learned = (torch.from_numpy(part[rows]).to(device) for part in corpus)
        ids = ids.long()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(input_ids=ids, labels=ids.masked_fill(~learned, -100)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
        if (step + 1) % every == 0:
            seconds = spent + time.monotonic() - began
            save_checkpoint(checkpoint, model, optimizer, step=step + 1, losses=losses, spent=seconds)
    return losses, spent + time.monotonic() - began


def pretrain(recipe: Recipe, out: Path, every: int = 200) -> dict[str, object]:
    """Make the backbone in ``out``, with a checkpoint ``every`` so many steps; returns what ``training.json`` says."""
    out.mkdir(parents=True, exist_ok=True)
    work = out / "unfinished"
    work.mkdir(exist_ok=True)
    stated = work / "recipe.json"
    if stated.exists() and json.loads(stated.read_text()) != asdict(recipe):
        raise SystemExit(f"{work} holds an unfinished run of another recipe: continue that one, or remove the folder")
    stated.write_text(json.dumps(asdict(recipe)))
    tokenizer, corpus = prepare(recipe, work)
    model = new_model(recipe, tokenizer)
    losses, seconds = train(recipe, model, corpus, work / "checkpoint.pt", every)
    model.generation_config.do_sample = True  # servers drop a request's temperature otherwise
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    facts = {
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "last_loss": round(float(np.mean(losses[-100:])), 4),
        "training_minutes": round(seconds / 60, 1),
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads",
    }
    (out / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(work)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    for name in ("seed", "tokens", "layers", "batch"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Recipe, name))
    args = parser.parse_args()
    facts = pretrain(Recipe(args.seed, args.tokens, layers=args.layers, batch=args.batch), args.out)
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
