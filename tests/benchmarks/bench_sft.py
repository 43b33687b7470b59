"""Throughput of fine-tuning beside a bare SFTTrainer: ``python tests/benchmarks/bench_sft.py [--rounds 3]``.

Both train the mini world's backbone on the same conversations with the same batch, taking turns. A ratio of tokens a
second, counted without padding, means something on a busy machine; processor time does so more than the clock.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import datasets
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from ledexlib.models import answer_text, refine_messages, solve_messages
from ledexlib.models.local import ChatTokenizer, load_trainable
from ledexlib.params import Params, validate
from ledexlib.problems import load_problems
from ledexlib.records import content_id
from ledexlib.training.sft import SFTExample, SFTExamples
from ledexlib.training.sft.trainer import sft_trainer

BATCH, DEVICE_BATCH = 32, 8


def examples(n: int, chat: ChatTokenizer) -> list[SFTExample]:
    """Conversations of the usual lengths: half ask for a program, half for a repair."""
    made = []
    for number, problem in enumerate(load_problems("mini-mbpp", "train")[:n]):
        answer = answer_text(None, problem.reference)
        ask = solve_messages(problem, answer)
        if number % 2:
            ask = refine_messages(problem, problem.reference, "line 3: TypeError", False, answer)
        made.append(SFTExample(
            id=content_id(ask), kind="refine" if number % 2 else "generation", task_id=problem.task_id,
            solution_id=problem.task_id, messages=tuple(ask), tokens=chat.count(ask),
        ))  # fmt: skip
    return made


def ours(p: Params, folder: Path, chat: ChatTokenizer, data: list[SFTExample]) -> SFTTrainer:
    return sft_trainer(SFTExamples(data, [], []), p, folder, chat)


def bare(p: Params, folder: Path, chat: ChatTokenizer, data: list[SFTExample]) -> SFTTrainer:
    """What a user of trl writes."""
    rows = datasets.Dataset.from_list([{"prompt": e.prompt, "completion": e.completion} for e in data])
    config = SFTConfig(
        output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=DEVICE_BATCH,
        gradient_accumulation_steps=BATCH // DEVICE_BATCH, learning_rate=p.sft_lr, bf16=False, use_cpu=True,
        activation_checkpointing=False, max_length=p.sft_max_length, report_to="none", disable_tqdm=True,
        save_strategy="no",
    )  # fmt: skip
    trainer = SFTTrainer(
        load_trainable(p, chat), config, train_dataset=rows, processing_class=chat.tokenizer
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    datasets.disable_progress_bars()
    p = validate({
        "sft_batch": BATCH, "sft_device_batch": DEVICE_BATCH, "sft_epochs": 1.0, "sft_held_out": 0.0,
        "sft_warmup_steps": 1, "sft_save_every": 10_000,
    })  # fmt: skip
    chat = ChatTokenizer("mini")
    data = examples(args.examples, chat)
    tokens = sum(example.tokens for example in data)
    rates: dict[str, list[tuple[float, float]]] = {"bare SFTTrainer": [], "ledexlib.sft": []}
    for _ in range(args.rounds):
        for name, make in zip(rates, (bare, ours), strict=True):
            with tempfile.TemporaryDirectory() as folder:
                trainer = make(p, Path(folder), chat, data)
                clock, processor = time.perf_counter(), time.process_time()
                trainer.train()
                rates[name].append((
                    tokens / (time.perf_counter() - clock), tokens / (time.process_time() - processor)
                ))  # fmt: skip
    print(f"{len(data)} conversations, {tokens:,} tokens, median of {args.rounds} rounds")
    medians = {name: [median(values) for values in zip(*pairs, strict=True)] for name, pairs in rates.items()}
    for name, (clock, processor) in medians.items():
        print(f"{name:16} {clock:7,.0f} tokens a second, {processor:7,.0f} a processor second")
    ratios = [a / b for a, b in zip(medians["ledexlib.sft"], medians["bare SFTTrainer"], strict=True)]
    print(f"ratio            {ratios[0]:7.2f} by the clock,    {ratios[1]:7.2f} by processor time")


if __name__ == "__main__":
    main()
