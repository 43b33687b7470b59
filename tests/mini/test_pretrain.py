"""Pre-training on a recipe of seconds: a killed run ends with the weights of an undisturbed one."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ledexlib.mini import BACKBONE, pretrain

TINY = pretrain.Recipe(
    tokens=24 * 2 * 96, vocabulary=400, tokenizer_documents=60, hidden=32, layers=1, heads=2, feed_forward=64,
    context=256, sequence=96, batch=2, warm_up=4,
)  # fmt: skip
SCRIPT = f"""
import sys, torch
from pathlib import Path
from ledexlib.mini.pretrain import Recipe, pretrain
torch.set_num_threads(1)
pretrain(Recipe(**{asdict(TINY)!r}), Path(sys.argv[1]), every=2)
"""


def start(folder) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], stderr=subprocess.DEVNULL)


def weights(folder) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait(200) == 0
    first = start(killed)
    deadline = time.monotonic() + 200
    while not (killed / "unfinished" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (killed / "unfinished" / "checkpoint.pt").exists() and not (killed / "training.json").exists()
    assert start(killed).wait(200) == 0
    ours, theirs = weights(killed), weights(whole)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not (killed / "unfinished").exists()


def test_an_unfinished_run_of_another_recipe_is_not_continued(tmp_path):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "recipe.json").write_text(json.dumps({**asdict(TINY), "seed": 9}))
    with pytest.raises(SystemExit, match="another recipe"):
        pretrain.pretrain(TINY, tmp_path)


def test_the_corpus_of_a_longer_recipe_begins_with_that_of_a_shorter_one(tmp_path):
    tokenizer = pretrain.train_tokenizer(TINY)
    longer = pretrain.Recipe(**{**asdict(TINY), "tokens": 2 * TINY.tokens})
    (short, learned), (long, _) = (pretrain.encode_corpus(recipe, tokenizer) for recipe in (TINY, longer))
    assert np.array_equal(short, long[: len(short)]) and len(long) == 2 * len(short)
    assert 0.15 < learned.mean() < 0.85  # answers are learned, tasks are read


def test_the_learning_rate_rises_stays_and_falls():
    rates = [pretrain.learning_rate(TINY, step) for step in range(TINY.steps)]
    assert rates[0] == pytest.approx(TINY.learning_rate / TINY.warm_up)
    assert max(rates) == TINY.learning_rate == rates[TINY.warm_up] and rates[-1] < 0.3 * TINY.learning_rate


def test_the_packaged_backbone_is_what_it_says():
    facts = json.loads((BACKBONE / "training.json").read_text())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(BACKBONE), AutoTokenizer.from_pretrained(BACKBONE)
    assert model.config.model_type == "llama"
    assert sum(p.numel() for p in model.parameters()) == facts["parameters"] <= 4_000_000
    assert sum(path.stat().st_size for path in BACKBONE.iterdir()) <= 10_000_000
    assert facts["recipe"] == asdict(pretrain.Recipe()), "the default recipe is the one that made the weights"
    for marker in ("<|user|>", "<|assistant|>", "<|end|>"):
        assert len(tokenizer(marker)["input_ids"]) == 1
    hello = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(hello, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>\nHi<|end|>\n<|assistant|>\n"
