"""One flat, typed vocabulary of parameters for every notebook, file and command line.

Defaults are the paper's where the paper states one, except for sizes: ``max_problems`` keeps an interactive run short.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


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


def _quantiles(values: list[float]) -> list[float]:
    if len(values) != 2 or not 0 <= values[0] < values[1] <= 1:
        raise ValueError("must be two rising numbers between 0 and 1")
    return values


Real = Annotated[float, BeforeValidator(_number)]
RealOrNone = Annotated[float | None, BeforeValidator(_number)]
Weights = Annotated[list[float], AfterValidator(_weights)]
Quantiles = Annotated[list[float], AfterValidator(_quantiles)]
Backend = Literal["transformers", "endpoint", "simulated"]


class Params(BaseModel):
    """The resolved parameters of a run. Field descriptions are the documentation shown to users."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # The run
    run: str = Field(
        "scratch", pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the run, a folder under `outputs`"
    )
    outputs: str = Field("outputs", description="folder of all runs; a relative path starts at the repository")
    seed: int = Field(0, ge=0, description="seed of every random choice")

    # Problems
    benchmark: str = Field(
        "mini-mbpp", description="problems to collect from: a benchmark's name, or 'jsonl' with `problems_path`"
    )
    split: str = Field("train", description="split of the benchmark")
    problems_path: str | None = Field(
        None, description="file or folder with the benchmark's original data; None loads it from the hub"
    )
    max_problems: int | None = Field(20, ge=1, description="use only the first so many problems; None uses all")
    decontaminate_against: list[str] = Field(
        [], description="drop problems that overlap with these: a benchmark's name, or NAME=PATH for its data at PATH"
    )
    decontaminate_ngram: int = Field(13, ge=2, description="length in tokens of a shared n-gram that counts as overlap")

    # The model that writes the first programs
    model: str = Field(
        "mini",
        description="'mini' (the packaged backbone), a checkpoint folder, or a model name for the hub or endpoint",
    )
    model_backend: Backend = Field(
        "transformers", description="who runs the model: transformers in process, or an OpenAI-compatible endpoint"
    )
    model_endpoints: list[str] = Field(
        [], description="base URLs of the endpoints that serve the model, such as http://localhost:8000/v1"
    )
    n_shots: int = Field(3, ge=1, description="solved problems shown to a base model (paper: 3)")
    shots_benchmark: str | None = Field(
        None, description="benchmark of the solved problems shown; None: the same, its split 'prompt'"
    )
    shots_path: str | None = Field(
        None, description="file or folder of that benchmark's data; None: `problems_path` or the hub"
    )
    n_solutions: int = Field(20, ge=1, description="solutions sampled for each problem (paper: 20)")
    solution_temperature: Real = Field(1.0, ge=0, description="sampling temperature of solutions (paper: 1.0)")
    solution_max_tokens: int = Field(192, ge=1, description="longest solution, in tokens")

    # The teacher that explains and repairs
    teacher: str = Field("mini-teacher", description="'mini-teacher' (simulated), a checkpoint folder, or a model name")
    teacher_backend: Backend = Field(
        "simulated", description="who runs the teacher; 'simulated' is the mini world's stand-in"
    )
    teacher_endpoints: list[str] = Field([], description="base URLs of the endpoints that serve the teacher")
    teacher_style: Literal["chat", "few_shot"] = Field(
        "chat", description="chat for instruction-tuned teachers, few_shot for base models"
    )
    n_refinements: int = Field(
        10, ge=1, description="explanation + refinement samples for each wrong solution (paper: 10)"
    )
    refinement_temperature: Real = Field(0.8, ge=0, description="sampling temperature of refinements (paper: 0.8)")
    refinement_max_tokens: int = Field(512, ge=1, description="longest explanation and refinement together, in tokens")

    # Generation
    top_p: Real = Field(
        1.0, gt=0, le=1, description="nucleus sampling: keep the smallest set of tokens with this probability"
    )
    prompts_per_batch: int = Field(
        8, ge=1, description="prompts generated together and saved together; part of what makes a run reproducible"
    )
    requests_in_flight: int = Field(16, ge=1, description="most concurrent requests to all endpoints together")
    request_timeout: Real = Field(
        120.0, gt=0, description="seconds before a request to an endpoint is given up and tried again"
    )
    request_attempts: int = Field(6, ge=1, description="tries of one request before the stage stops with its error")
    cost_per_million_input: Real = Field(
        0.0, ge=0, description="endpoint price of a million prompt tokens, for the cost log"
    )
    cost_per_million_output: Real = Field(
        0.0, ge=0, description="endpoint price of a million completion tokens, for the cost log"
    )

    # Recorded attempts instead of live sampling
    recorded: list[str] = Field([], description="files of recorded attempts to verify instead of live samples")

    # Rewards
    encoder: str = Field(
        "sentence-transformers/all-roberta-large-v1",
        description="sentence encoder of explanations: a hub name, a folder, or 'minilm' (packaged, needs no hub)",
    )
    reward_references: Literal["solution", "task"] = Field(
        "solution",
        description="compare with the correct refinements of the same wrong program (paper), or with all of the task",
    )
    codebleu_weights: Weights = Field(
        [0.25, 0.25, 0.25, 0.25],
        description="weights of n-grams, weighted n-grams, syntax and data flow; they sum to 1",
    )
    code_reward: Literal["both", "codebleu", "tests"] = Field(
        "both", description="R(r) from CodeBLEU and unit tests (paper), or from one of them alone"
    )
    explanation_map: Literal["paper", "quantiles"] = Field(
        "paper",
        description="similarities worth R(e) = -5 and +5: the paper's 0.4 and 1.0, or quantiles of the collected data",
    )
    explanation_quantiles: Quantiles = Field(
        [0.01, 0.99], description="the two quantiles of similarity that 03_rewards fits"
    )
    explanation_clip: bool = Field(False, description="clip R(e) to [-5, 5] (paper: no clip is written)")
    explanation_when_passed: bool = Field(False, description="R(e) counts only if the tests pass, otherwise it is 0")
    explanation_weight: Real = Field(1.0, ge=0, description="weight of R(e) beside R(r) (paper: 1); 0 leaves it out")
    explanation_max_words: int | None = Field(
        None, ge=1, description="guard: a longer explanation gets R(e) = -5; None: no guard"
    )
    explanation_max_copied: float | None = Field(
        None,
        ge=0,
        le=1,
        description="guard: a larger share of words copied from code or feedback gets R(e) = -5; None: no guard",
    )
    copy_guard: bool = Field(False, description="guard: a refinement equal to the wrong program gets R(r) = -5")
    max_scored: int | None = Field(
        None, ge=1, description="analyse the rewards of so many wrong programs, evenly spread; None: of all"
    )

    # Evaluation
    evaluate_models: list[str] = Field(
        ["base", "04_sft"],
        description="what is evaluated: 'base' (`model`, few-shot), stages that leave a model, or checkpoint folders",
    )
    evaluate_benchmarks: list[str] = Field(
        ["mini-mbpp", "mini-humaneval", "mini-mbppplus", "mini-humanevalplus"],
        description="benchmarks evaluated on: a name, or NAME=PATH for its data at PATH",
    )
    evaluate_split: str = Field("test", description="split of the benchmarks that is evaluated on")
    evaluate_max_problems: int | None = Field(
        20, ge=1, description="evaluate on the first so many problems of each benchmark; None takes all"
    )
    n_samples: int = Field(100, ge=1, description="programs sampled for each problem in evaluation (paper: 100)")
    evaluate_temperature: Real = Field(
        0.8, ge=0, description="sampling temperature of programs and repairs in evaluation (paper: 0.8)"
    )
    evaluate_max_tokens: int = Field(512, ge=1, description="longest answer in evaluation, in tokens")
    answers_per_batch: int = Field(
        64, ge=1, description="answers sampled and saved together in evaluation; part of what makes a run reproducible"
    )
    n_repair_shots: int = Field(3, ge=0, description="worked repairs shown to a base model that is asked to repair")
    feedback_from: Literal["benchmark", "public"] = Field(
        "benchmark", description="tests whose failures a model is shown: the benchmark's (paper), or only the prompt's"
    )
    n_unbroken: int = Field(
        1, ge=0, description="programs of each problem that do not fail and are sent to repair too, for the break rate"
    )

    # Execution of programs
    workers: int = Field(2, ge=1, description="programs verified at once")
    timeout: Real = Field(15.0, gt=0, description="seconds a program may run against all its tests")
    memory_mb: int = Field(1024, ge=64, description="memory a program may use, in MiB")

    # Supervised fine-tuning
    sft_model: str | None = Field(
        None, description="checkpoint to fine-tune: 'mini', a folder or a name on the hub; None: `model`"
    )
    sft_method: Literal["full", "lora"] = Field(
        "full", description="full trains all weights, lora low-rank adapters that are merged at the end"
    )
    sft_generation: Real = Field(
        1.0, ge=0, description="how often an epoch shows each correct first program; 0 leaves them out"
    )
    sft_refine: Real = Field(1.0, ge=0, description="how often an epoch shows each refinement; 0 leaves them out")
    sft_explain_refine: Real = Field(
        1.0, ge=0, description="how often an epoch shows each explanation with refinement; 0 leaves them out"
    )
    sft_per_problem: int | None = Field(
        None, ge=1, description="most examples of each kind from one problem; None uses all"
    )
    sft_held_out: Real = Field(0.05, ge=0, lt=1, description="share of problems kept for the held-out loss")
    sft_epochs: Real = Field(2.0, gt=0, description="passes over the data (paper: 2)")
    sft_batch: int = Field(128, ge=1, description="examples for each step of the optimizer (paper: 128)")
    sft_device_batch: int = Field(
        4, ge=1, description="examples on a device at once; the batch is reached by accumulation"
    )
    sft_lr: Real = Field(2e-5, gt=0, description="highest learning rate (paper: 2e-5)")
    sft_warmup_steps: int = Field(500, ge=0, description="steps over which the learning rate rises (paper: 500)")
    sft_schedule: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        "cosine", description="how the learning rate falls after that (paper: cosine)"
    )
    sft_weight_decay: Real = Field(0.0, ge=0, description="weight decay of AdamW")
    sft_max_length: int = Field(2048, ge=1, description="longest example, in tokens; longer ones are left out")
    sft_packing: bool = Field(
        False, description="pack several examples into each row of `sft_max_length` tokens; False groups by length"
    )
    sft_gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, a third slower"
    )
    sft_lora_rank: int = Field(16, ge=1, description="rank of the adapters")
    sft_lora_alpha: Real = Field(32.0, gt=0, description="the adapters count alpha / rank times")
    sft_lora_dropout: Real = Field(0.0, ge=0, lt=1, description="dropout before the adapters")
    sft_lora_targets: list[str] = Field(
        ["all-linear"], description="modules that get adapters, by the end of their names; all-linear: all but the head"
    )
    load_in_4bit: bool = Field(False, description="QLoRA: the frozen weights in 4 bits; needs a GPU and bitsandbytes")
    sft_log_every: int = Field(10, ge=1, description="steps between two records of the training loss")
    sft_eval_every: int = Field(50, ge=1, description="steps between two measurements of the held-out loss")
    sft_save_every: int = Field(100, ge=1, description="steps between two checkpoints, from which a killed run goes on")
    sft_processes: int | None = Field(
        None, ge=1, description="processes that train together by `accelerate launch`; None: one for each GPU"
    )
    sft_accelerate_config: str | None = Field(
        None, description="accelerate's configuration file for them, such as for FSDP or DeepSpeed"
    )

    # Reinforcement learning
    ppo_algorithm: Literal["ppo", "grpo"] = Field(
        "ppo", description="ppo learns a value head; grpo compares the answers to a prompt with each other"
    )
    ppo_credit: Literal["paper", "isolated", "single"] = Field(
        "paper",
        description="explanation tokens see R(e) and later R(r) (paper's formula), R(e) alone, or one final reward",
    )
    ppo_explain: Real = Field(
        0.5, ge=0, le=1, description="share of prompts that ask for an explanation before the repair"
    )
    ppo_programs: Literal["collected", "own"] = Field(
        "collected", description="wrong programs to repair: collected ones (paper), or the fine-tuned model's own"
    )
    ppo_steps: int = Field(100, ge=1, description="batches of answers that are sampled and learned from")
    ppo_batch: int = Field(64, ge=2, description="answers in a batch (paper: 64)")
    ppo_generations: int = Field(4, ge=2, description="answers to each prompt of a batch")
    ppo_rounds: int = Field(
        1, ge=1, description="rounds of an answer: a repair that fails is shown its feedback and tried again"
    )
    ppo_minibatches: int = Field(1, ge=1, description="steps of the optimizer in a pass over a batch")
    ppo_epochs: int = Field(2, ge=1, description="passes over each batch")
    ppo_temperature: Real = Field(1.0, gt=0, description="sampling temperature of answers")
    ppo_max_tokens: int = Field(512, ge=1, description="longest answer, in tokens")
    ppo_max_length: int = Field(2048, ge=2, description="longest prompt and answer; longer prompts are left out")
    ppo_method: Literal["full", "lora"] = Field(
        "full", description="full trains all weights, lora adapters of `sft_lora_rank` that are merged at the end"
    )
    ppo_lr: Real = Field(2e-6, gt=0, description="highest learning rate of the policy (paper: 2e-6)")
    ppo_value_lr: RealOrNone = Field(None, description="learning rate of the value head; None: that of the policy")
    ppo_warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate rises")
    ppo_schedule: Literal["constant_with_warmup", "linear", "cosine"] = Field(
        "constant_with_warmup", description="how the learning rate falls after that"
    )
    ppo_gamma: Real = Field(0.99, ge=0, le=1, description="discount of later rewards (paper: 0.99)")
    ppo_lambda: Real = Field(1.0, ge=0, le=1, description="weight of later errors of the value (paper: 1)")
    ppo_clip: Real = Field(0.2, gt=0, description="how far a token's probability ratio counts, from 1")
    ppo_whiten: bool = Field(True, description="scale advantages to mean 0 and variance 1, each segment by itself")
    ppo_group_scale: Literal["group", "batch"] = Field(
        "group", description="grpo: scale rewards by the deviation in their prompt's group, or in all groups"
    )
    ppo_value_coef: Real = Field(0.5, ge=0, description="weight of the value's loss")
    ppo_value_clip: RealOrNone = Field(None, description="how far a value may move in a batch; None: no limit")
    ppo_value_detached: bool = Field(True, description="keep the value's gradient out of the policy's weights")
    ppo_kl: Literal["adaptive", "fixed"] = Field("adaptive", description="whether the weight of the KL penalty adapts")
    ppo_kl_coef: Real = Field(0.05, ge=0, description="weight of the KL penalty, at first; 0 uses no reference model")
    ppo_kl_target: Real = Field(6.0, gt=0, description="KL from the SFT model that it adapts to, in nats an answer")
    ppo_kl_horizon: int = Field(10000, ge=1, description="answers in which the weight grows by a fifth at most")
    ppo_stop_kl: RealOrNone = Field(None, description="stop at a KL of more nats an answer; None: never")
    ppo_stop_drop: RealOrNone = Field(
        None, description="stop when the reward falls by so many points from its best; None: never"
    )
    ppo_device_batch: int = Field(
        8, ge=1, description="answers on a device at once; the batch is reached by accumulation"
    )
    ppo_gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, a third slower"
    )
    ppo_vllm: bool = Field(False, description="sample answers with vLLM in the same process; needs a GPU and vllm")
    ppo_save_every: int = Field(10, ge=1, description="batches between checkpoints, from which a killed run goes on")
    ppo_shown: int = Field(4, ge=0, description="answers of each batch kept token by token, to look at")
    ppo_processes: int | None = Field(
        None, ge=1, description="processes that train together by `accelerate launch`; None: one for each GPU"
    )
    ppo_accelerate_config: str | None = Field(
        None, description="accelerate's configuration file for them, such as for FSDP or DeepSpeed"
    )
    ablations: list[str] = Field(
        ["own", "isolated", "single", "grpo", "codebleu", "tests", "silent", "gated"],
        description="rewards and credit modes that are trained and compared, by their names in ledexlib/ablation.py",
    )
    ablation_seeds: int = Field(3, ge=1, description="trainings of each of them, with seeds from `seed` on")
