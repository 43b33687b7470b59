"""One flat, typed vocabulary of parameters for every notebook, file and command line, in groups by subject.

Defaults are the paper's where the paper states one, except for sizes: ``max_problems`` keeps an interactive run short.
Field descriptions are the documentation: ``params/README.md`` is made from them."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

RESERVED = ("gallery", "embeddings")  # folders under `outputs` that are no runs


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``1e-5`` (no dot) as text; take such text as the number it is."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _weights(values: list[float]) -> list[float]:
    if len(values) != 4 or min(values) < 0 or abs(sum(values) - 1) > 1e-9:
        raise ValueError("must be four numbers of at least 0 that sum to 1")
    return values


def _run_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ValueError("must be letters, digits, '_', '-' and '.', the first of them a letter or a digit")
    if name in RESERVED:
        raise ValueError(f"must be another name: {' and '.join(RESERVED)} are folders of their own under outputs")
    return name


Real = Annotated[float, BeforeValidator(_number)]
RealOrNone = Annotated[float | None, BeforeValidator(_number)]
Numbers = BeforeValidator(lambda values: [*map(_number, values)] if isinstance(values, list) else values)
Weights = Annotated[list[float], Numbers, AfterValidator(_weights)]
RunName = Annotated[str, AfterValidator(_run_name)]


def _field(default: Any, description: str, **limits: float) -> Any:
    return Field(default, description=description, **limits)


class Params(BaseModel):
    """The resolved parameters of a run. Field descriptions are the documentation shown to users."""
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # The run
    run: RunName = _field("scratch", "name of the run, a folder under `outputs`")
    outputs: str = _field("outputs", "folder of all runs; a relative path starts at the repository")
    seed: int = _field(0, "seed of every random choice", ge=0)

    # Problems to collect from
    benchmark: str = _field("mini-mbpp", "benchmark to collect from, or 'jsonl' with `problems_path`")
    split: str = _field("train", "split of the benchmark")
    problems_path: str | None = _field(None, "file or folder with the benchmark's original data; None: the hub")
    max_problems: int | None = _field(20, "use only the first so many problems; None uses all", ge=1)
    decontaminate_against: list[str] = _field(
        [], "drop problems that share 13 words in a row with these: NAME or NAME=PATH")
    recorded: list[str] = _field([], "files of recorded attempts to verify instead of live samples")

    # The model that writes the first programs
    model: str = _field("mini", "a registered model, a checkpoint folder, a hub name, or the name at the endpoints")
    model_endpoints: list[str] = _field([], "base URLs of OpenAI-compatible servers; none: in process")
    n_shots: int = _field(3, "solved problems shown to a base model (paper: 3)", ge=1)
    shots_benchmark: str | None = _field(None, "NAME or NAME=PATH of the solved problems; None: the same")

    # First programs
    n_solutions: int = _field(20, "solutions sampled for each problem (paper: 20)", ge=1)
    solution_temperature: Real = _field(1.0, "sampling temperature of solutions (paper: 1.0)", ge=0)
    solution_max_tokens: int = _field(192, "longest solution, in tokens", ge=1)

    # The teacher that explains and repairs
    teacher: str = _field("mini-teacher", "a registered teacher, a checkpoint folder, or a model name")
    teacher_endpoints: list[str] = _field([], "base URLs of OpenAI-compatible servers; none: in process")
    teacher_style: Literal["chat", "few_shot"] = _field("chat", "few_shot for base models")
    n_refinements: int = _field(10, "explanations with refinements for each wrong program (paper: 10)", ge=1)
    refinement_temperature: Real = _field(0.8, "sampling temperature of refinements (paper: 0.8)", ge=0)
    refinement_max_tokens: int = _field(512, "longest explanation and refinement together, in tokens", ge=1)

    # Generation
    top_p: Real = _field(1.0, "nucleus sampling: the smallest set of tokens that is so probable", gt=0, le=1)
    prompts_per_batch: int = _field(8, "prompts generated and saved together; part of what a run reproduces", ge=1)
    requests_in_flight: int = _field(16, "most concurrent requests to all endpoints together", ge=1)
    request_timeout: Real = _field(120.0, "seconds before a request is given up and tried again", gt=0)

    # Execution of programs
    workers: int = _field(2, "programs verified at once", ge=1)
    timeout: Real = _field(15.0, "seconds a program may run against all its tests", gt=0)
    memory_mb: int = _field(1024, "memory a program may use, in MiB", ge=64)

    # Rewards
    encoder: str = _field(
        "sentence-transformers/all-roberta-large-v1", "sentence encoder: a hub name, a folder, or 'minilm' (packaged)")
    reward_references: Literal["solution", "task"] = _field(
        "solution", "R_c of the same wrong program (paper), or of its task")
    codebleu_weights: Weights = _field([0.25, 0.25, 0.25, 0.25], "of n-grams, weighted n-grams, syntax, data flow")
    code_reward: Literal["both", "codebleu", "tests"] = _field(
        "both", "R(r) from CodeBLEU and tests (paper), or one alone")
    explanation_map: Literal["paper", "quantiles"] = _field(
        "paper", "R(e) from the paper's 0.4 and 1.0, or from the data's quantiles")
    explanation_clip: bool = _field(False, "clip R(e) to [-5, 5] (paper: no clip is written)")
    explanation_when_passed: bool = _field(False, "R(e) counts only if the tests pass, otherwise it is 0")
    max_scored: int | None = _field(None, "wrong programs whose rewards 03 analyses, evenly spread; None: all", ge=1)

    # Training, supervised and by reinforcement
    method: Literal["full", "lora"] = _field("full", "full: all weights; lora: adapters, merged at the end")
    lora_rank: int = _field(16, "rank of the adapters, which all linear layers get", ge=1)
    lora_alpha: Real = _field(32.0, "the adapters count alpha / rank times", gt=0)
    load_in_4bit: bool = _field(False, "QLoRA: frozen weights in 4 bits; needs a GPU and bitsandbytes")
    gradient_checkpointing: bool = _field(False, "recompute activations: less memory, a third slower")
    processes: int | None = _field(None, "training processes by `accelerate launch`; None: one for each GPU", ge=1)
    accelerate_config: str | None = _field(None, "accelerate's own file for them, such as for FSDP or DeepSpeed")

    # Supervised fine-tuning
    sft_model: str | None = _field(None, "checkpoint to fine-tune; None: `model`")
    sft_generation: Real = _field(1.0, "copies of each correct first program in an epoch; 0: none", ge=0)
    sft_refine: Real = _field(1.0, "copies of each refinement in an epoch; 0: none", ge=0)
    sft_explain_refine: Real = _field(1.0, "copies of each explanation with refinement in an epoch; 0: none", ge=0)
    sft_per_problem: int | None = _field(None, "most examples of each kind from one problem", ge=1)
    sft_held_out: Real = _field(0.05, "share of problems kept for the held-out loss", ge=0, lt=1)
    sft_epochs: Real = _field(2.0, "epochs (paper: 2)", gt=0)
    sft_batch: int = _field(128, "examples for each step of the optimizer (paper: 128)", ge=1)
    sft_device_batch: int = _field(4, "examples on a device at once; accumulation reaches the batch", ge=1)
    sft_lr: Real = _field(2e-05, "highest learning rate (paper: 2e-5), which falls as a cosine", gt=0)
    sft_warmup_steps: int = _field(500, "steps over which the learning rate rises (paper: 500)", ge=0)
    sft_max_length: int = _field(2048, "longest example, in tokens; longer ones are left out", ge=1)
    sft_log_every: int = _field(10, "steps between two records of the training loss", ge=1)
    sft_eval_every: int = _field(50, "steps between two measurements of the held-out loss", ge=1)
    sft_save_every: int = _field(100, "steps between checkpoints, from which a killed run goes on", ge=1)

    # Reinforcement learning
    ppo_algorithm: Literal["ppo", "grpo"] = _field("ppo", "ppo has a value head; grpo compares answers to a prompt")
    ppo_credit: Literal["paper", "isolated", "single"] = _field(
        "paper", "explanation tokens see R(e) and later R(r), R(e) alone, one reward")
    explanation_weight: Real = _field(1.0, "weight of R(e) beside R(r) (paper: 1); 0 leaves it out", ge=0)
    ppo_explain: Real = _field(0.5, "share of prompts that ask for an explanation first", ge=0, le=1)
    ppo_programs: Literal["collected", "own"] = _field(
        "collected", "wrong programs to repair: collected (paper), or the SFT model's own")
    ppo_steps: int = _field(100, "batches of answers that are sampled and learned from", ge=1)
    ppo_batch: int = _field(64, "answers in a batch (paper: 64)", ge=2)
    ppo_generations: int = _field(4, "answers to each prompt of a batch", ge=2)
    ppo_rounds: int = _field(1, "rounds of an answer: a failed repair gets feedback and a retry", ge=1)
    ppo_minibatches: int = _field(1, "optimizer steps in a pass over a batch", ge=1)
    ppo_epochs: int = _field(2, "passes over each batch", ge=1)
    ppo_temperature: Real = _field(1.0, "sampling temperature of answers", gt=0)
    ppo_max_tokens: int = _field(512, "longest answer, in tokens", ge=1)
    ppo_max_length: int = _field(2048, "longest prompt and answer; longer prompts are left out", ge=2)
    ppo_lr: Real = _field(2e-06, "highest learning rate of the policy (paper: 2e-6)", gt=0)
    ppo_value_lr: RealOrNone = _field(None, "learning rate of the value head; None: that of the policy")
    ppo_warmup_steps: int = _field(0, "steps over which the learning rate rises, then stays", ge=0)
    ppo_gamma: Real = _field(0.99, "discount γ (paper: 0.99)", ge=0, le=1)
    ppo_lambda: Real = _field(1.0, "λ of generalised advantage estimation (paper: 1)", ge=0, le=1)
    ppo_clip: Real = _field(0.2, "clip range ε of the probability ratio", gt=0)
    ppo_kl_coef: Real = _field(0.05, "coefficient β of the KL penalty; 0 uses no reference model", ge=0)
    ppo_kl_target: RealOrNone = _field(6.0, "KL in nats an answer to which β adapts; None: β is fixed", gt=0)
    ppo_stop_kl: RealOrNone = _field(None, "stop early at a KL of more nats an answer; None: never")
    ppo_device_batch: int = _field(8, "answers on a device at once; accumulation reaches the batch", ge=1)
    ppo_vllm: bool = _field(False, "sample answers with vLLM in the same process; needs a GPU and vllm")
    ppo_save_every: int = _field(10, "batches between checkpoints, from which a killed run goes on", ge=1)

    # Evaluation
    evaluate_models: list[str] = _field(["base", "04_sft"], "'base', stages that leave a model, checkpoint folders")
    evaluate_benchmarks: list[str] = _field(
        ["mini-mbpp", "mini-humaneval", "mini-mbppplus", "mini-humanevalplus"], "benchmarks: NAME or NAME=PATH")
    evaluate_split: str = _field("test", "split of the benchmarks that is evaluated on")
    evaluate_max_problems: int | None = _field(20, "the first so many problems of each benchmark; None: all", ge=1)
    n_samples: int = _field(100, "programs sampled for each problem in evaluation (paper: 100)", ge=1)
    evaluate_temperature: Real = _field(0.8, "sampling temperature of programs and repairs (paper: 0.8)", ge=0)
    evaluate_max_tokens: int = _field(512, "longest answer in evaluation, in tokens", ge=1)
    answers_per_batch: int = _field(64, "answers sampled and saved together; part of what a run reproduces", ge=1)
    n_repair_shots: int = _field(3, "worked repairs shown to a base model that is asked to repair", ge=0)
    feedback_from: Literal["benchmark", "public"] = _field(
        "benchmark", "tests whose failures a model is shown: all (paper), or the prompt's")
    n_unbroken: int = _field(1, "programs of each problem that do not fail but are repaired, for the break rate", ge=0)

    # Ablations
    ablations: list[str] = _field(
        ["own", "isolated", "single", "grpo", "codebleu", "tests", "silent", "gated"], "variants to train and compare")
    ablation_seeds: int = _field(3, "trainings of each of them, with seeds from `seed` on", ge=1)


# The groups, by which the table of stages names parameters: the title and the first parameter of each.
_STARTS = {
    "run": ("The run", "run"),
    "problems": ("Problems to collect from", "benchmark"),
    "model": ("The model that writes the first programs", "model"),
    "solutions": ("First programs", "n_solutions"),
    "teacher": ("The teacher that explains and repairs", "teacher"),
    "generation": ("Generation", "top_p"),
    "execution": ("Execution of programs", "workers"),
    "rewards": ("Rewards", "encoder"),
    "training": ("Training, supervised and by reinforcement", "method"),
    "sft": ("Supervised fine-tuning", "sft_model"),
    "ppo": ("Reinforcement learning", "ppo_algorithm"),
    "evaluation": ("Evaluation", "evaluate_models"),
    "ablations": ("Ablations", "ablations")}
_names = list(Params.model_fields)
_ends = [*(_names.index(first) for _, first in _STARTS.values()), len(_names)]
TITLES = {group: title for group, (title, _) in _STARTS.items()}
GROUPS = {group: tuple(_names[_ends[i] : _ends[i + 1]]) for i, group in enumerate(_STARTS)}
