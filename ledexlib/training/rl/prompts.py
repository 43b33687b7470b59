"""What reinforcement learning reads of a run's earlier stages, and its prompts: a wrong program with its feedback,
to be repaired with or without an explanation.

Only wrong programs with something to compare a repair with (R_c, and E_c where an explanation is asked for) are used.
The paper's prompts show wrong programs of the collection, which the base model wrote. What the trained model will be
asked to repair are its own, which fail less often and in other ways; with ``ppo_programs: own`` the fine-tuned model
writes new ones for the same problems, as many and sampled as in the collection: on-policy programs."""

import os
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ledexlib import repair
from ledexlib.models import Message, refine_messages, solve_messages
from ledexlib.models.local import TransformersGenerator
from ledexlib.params import ParameterError, Params, resolve
from ledexlib.records import Problem, Record, Solution, Trajectory
from ledexlib.rewards import Encoder, Scorer, explanation_map_ends
from ledexlib.runs import JsonLines, Progress, read_json, run_folder, write_records

KINDS = {False: "refine", True: "explain and refine"}  # by whether an explanation is asked for
ON_POLICY = "on_policy"  # in the training's folder: trajectories.jsonl, and the caches of completions and verdicts


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

    def count(self, messages: Sequence[Message]) -> int:
        """The tokens of a conversation that is to be answered."""
        asked = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)
        return len(asked["input_ids"])


def load_sources(p: Params, folder: Path) -> RLSources:
    """The sources of a training in ``folder``, of the run that the parameters name; all its stages must be there.

    With ``ppo_programs: own`` the fine-tuned model's own programs are written there, but not by several processes."""
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


def _path(folder: Path) -> Path:
    return folder / ON_POLICY / "trajectories.jsonl"


def write_on_policy_programs(problems: Sequence[Problem], model: Path, p: Params, folder: Path) -> None:
    """Have the model write programs for the problems, in its chat; keep the wrong ones, once they all are there.

    With ``reward_references: solution`` the teacher explains and repairs them as it did the collection's: an
    explanation can be rewarded for resembling only those of the same program."""
    if _path(folder).exists():
        return
    caches, progress, name = folder / ON_POLICY, partial(Progress, folder), model.parent.name
    load = partial(TransformersGenerator, model, name=name)
    policy = repair.model_completions(p, caches, progress, name, load)
    verdicts = repair.VerdictCache(p, caches / "verdicts.jsonl", progress)
    wrong = repair.wrong_solutions(repair.draft_solutions(problems, p.n_solutions, solve_messages, policy, verdicts))
    refinements = []
    if p.reward_references == "solution":
        teacher, ask = repair.teacher_completions(p, caches, progress), repair.teacher_requests(p)
        refinements = repair.repair_solutions(wrong, problems, p.n_refinements, "explain", ask, teacher, verdicts)
    write_records(_path(folder), repair.assemble(wrong, refinements))


def copy_on_policy_programs(earlier: Path, folder: Path) -> None:
    """Take over programs that another training's folder has, written with the same model, problems and settings."""
    if _path(earlier).exists() and not _path(folder).exists():
        write_records(_path(folder), read_on_policy_programs(earlier))


def read_on_policy_programs(folder: Path) -> list[Trajectory]:
    """The different wrong programs that were written in the folder, each with the teacher's refinements, if any."""
    if not _path(folder).exists():
        raise ParameterError(f"ppo_programs: own needs {_path(folder)}: run the first cells of 05_ppo")
    return JsonLines(_path(folder), Trajectory, complete=True).read()


class RLPrompt(Record):
    """A prompt of reinforcement learning, ``tokens`` long."""
    solution_id: str
    task_id: str
    explain: bool
    messages: tuple[Message, ...]
    tokens: int


class RLPrompts(NamedTuple):
    """The prompts of a training; those that leave no room for an answer are apart."""
    used: list[RLPrompt]
    too_long: list[RLPrompt]


def build_prompts(sources: RLSources, p: Params) -> RLPrompts:
    """All prompts that wrong programs give, in their order; raises ParameterError if no kind that is wanted is left."""
    by_task = {problem.task_id: problem for problem in sources.problems}
    found = RLPrompts([], [])
    for program in sources.wrong:
        references = sources.scorer.references(program.id)
        kinds = [False] * bool(references or p.code_reward == "tests") + [True] * any(r.explanation for r in references)
        for explain in kinds:
            messages = tuple(refine_messages(by_task[program.task_id], program.code, program.told, explain))
            names = {"solution_id": program.id, "task_id": program.task_id, "explain": explain}
            prompt = RLPrompt(**names, messages=messages, tokens=sources.count(messages))
            fits = prompt.tokens + p.ppo_max_tokens <= p.ppo_max_length
            (found.used if fits else found.too_long).append(prompt)
    for explain, wanted in ((True, p.ppo_explain > 0), (False, p.ppo_explain < 1)):
        if wanted and not any(prompt.explain == explain for prompt in found.used):
            raise ParameterError(
                f"no prompt to {KINDS[explain]} is left: of {len(sources.wrong)} wrong programs, those with a correct "
                f"refinement give {sum(prompt.explain == explain for prompt in found.too_long)} prompts, all longer "
                f"than ppo_max_length ({p.ppo_max_length}) less ppo_max_tokens ({p.ppo_max_tokens})")
    return found


def typical_prompt(prompts: Sequence[RLPrompt]) -> RLPrompt:
    """A prompt to look at: of median length, among those that ask for an explanation if any do."""
    among = [prompt for prompt in prompts if prompt.explain] or prompts
    return sorted(among, key=lambda prompt: prompt.tokens)[len(among) // 2]


def prompt_order(prompts: Sequence[RLPrompt], share: float, n: int, seed: int) -> list[int]:
    """The numbers of ``n`` prompts in the order of training, of which this share, evenly spread, are explained.

    Each kind is gone through in random passes, so that no prompt comes again before all others have come."""

    def passes(explain: bool) -> Iterator[int]:
        numbers = [i for i, prompt in enumerate(prompts) if prompt.explain == explain]
        draw = random.Random(f"prompts {seed} {explain}")
        while numbers:
            yield from draw.sample(numbers, len(numbers))

    streams = {explain: passes(explain) for explain in KINDS}
    return [next(streams[int((k + 1) * share) > int(k * share)]) for k in range(n)]


def prompt_table(prompts: RLPrompts) -> pd.DataFrame:
    """Prompts, tasks and tokens of each kind."""
    rows = []
    for explain, kind in KINDS.items():
        used, too_long = ([prompt for prompt in part if prompt.explain == explain] for part in prompts)
        rows.append({
            "asks to": kind, "prompts": len(used), "tasks": len({prompt.task_id for prompt in used}),
            "longest, in tokens": max((prompt.tokens for prompt in used), default=0), "too long": len(too_long)})
    return pd.DataFrame(rows)
