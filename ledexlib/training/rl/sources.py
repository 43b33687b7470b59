"""What reinforcement learning reads of a run's earlier stages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ledexlib.models import Message
from ledexlib.params import ParameterError, Params, resolve
from ledexlib.records import Problem, Solution, Trajectory
from ledexlib.rewards import Encoder, Scorer, explanation_map_ends
from ledexlib.runs import JsonLines, read_json, run_folder
from ledexlib.training.rl.on_policy import read_on_policy_programs, write_on_policy_programs
from ledexlib.training.rl.prompts import RLPrompts, prompts_for


class RLSources(NamedTuple):
    """Problems, wrong programs to be repaired, the rewards' scorer, the fine-tuned model and its tokenizer."""

    problems: list[Problem]
    wrong: list[Solution]
    scorer: Scorer
    tokenizer: PreTrainedTokenizerBase
    model: Path

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def load_sources(p: Params, folder: Path) -> RLSources:
    """The sources of a training in ``folder``, of the run that the parameters name; all its stages must be there.

    With ``ppo_programs: own`` the fine-tuned model's own programs are written to the folder, unless they are there or
    several processes train.
    """
    run = run_folder(p)
    model = run / "04_sft" / "model"
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    if tokenizer.chat_template is None or tokenizer.eos_token is None:
        raise ParameterError(f"{model}: its tokenizer has no chat template or no end token; make it with 04_sft")
    problems = JsonLines(run / "01_collect" / "problems.jsonl", Problem, "task_id", complete=True).read()
    trajectories = JsonLines(run / "02_verify" / "trajectories.jsonl", Trajectory, complete=True).read()
    own = None
    if p.ppo_programs == "own":
        if os.environ.get("WORLD_SIZE", "1") == "1":
            write_on_policy_programs(problems, model, p, folder)
        own = read_on_policy_programs(folder)
    ends = explanation_map_ends(p, read_json(run / "03_rewards" / "calibration.json"))
    encoder = Encoder(p.encoder, resolve(p.outputs) / "embeddings")
    scorer = Scorer([*trajectories, *(own or [])], p, encoder, problems, ends)
    wrong = list(scorer.wrong.values()) if own is None else [t.solution for t in own]
    return RLSources(problems, wrong, scorer, tokenizer, model)


def build_prompts(sources: RLSources, p: Params) -> RLPrompts:
    """All prompts that the sources' wrong programs give; raises ParameterError if none of a wanted kind is left."""

    def count(messages: Sequence[Message]) -> int:
        asked = sources.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)
        return len(asked["input_ids"])

    return prompts_for(sources.wrong, sources.scorer, sources.problems, count, p)
