"""Reinforcement learning with two rewards (paper section 3), with torch: prompts, scored rollouts, credit, the loop."""

from ledexlib.training.rl.log import (
    TokenTrace,
    change_table,
    early_and_late,
    read_rl_log,
    read_traces,
    rl_gains,
)
from ledexlib.training.rl.on_policy import copy_on_policy_programs
from ledexlib.training.rl.policy import rl_process, train_policy
from ledexlib.training.rl.prompts import RLPrompt, RLPrompts, prompt_table, typical_prompt
from ledexlib.training.rl.sources import RLSources, build_prompts, load_sources

__all__ = [
    "RLPrompt", "RLPrompts", "RLSources", "TokenTrace", "build_prompts", "change_table", "copy_on_policy_programs",
    "early_and_late", "load_sources", "prompt_table", "read_rl_log", "read_traces", "rl_gains",
    "rl_process", "train_policy", "typical_prompt",
]  # fmt: skip
