"""Reinforcement learning with two rewards (paper section 3), with torch: prompts, scored rollouts, credit, the loop."""

from ledexlib.training.rl.log import TokenTrace, change_table, early_and_late, read_rl_log, read_traces, rl_gains
from ledexlib.training.rl.policy import rl_process, train_policy
from ledexlib.training.rl.prompts import RLPrompt, RLPrompts, RLSources, build_prompts, copy_on_policy_programs
from ledexlib.training.rl.prompts import load_sources, prompt_table, typical_prompt
