"""Figures of the notebooks: every function takes a data frame, or what a record holds, and returns a figure."""

from ledexlib.report.plots.evaluation import budgets, fixes_by_kind, scores
from ledexlib.report.plots.learning import ablation, example_lengths, reinforcement, training, update_seconds, variants
from ledexlib.report.plots.programs import by_problem, failure_kinds, pass_rates, rates, rounds, text_lengths
from ledexlib.report.plots.rewards import aucs, explanation_maps, reward_histograms, rewards_by_length, two_rewards
from ledexlib.report.plots.style import style
from ledexlib.report.plots.tokens import token_credit

__all__ = [
    "ablation", "aucs", "budgets", "by_problem", "example_lengths", "explanation_maps", "failure_kinds",
    "fixes_by_kind", "pass_rates", "rates", "reinforcement", "reward_histograms", "rewards_by_length", "rounds",
    "scores", "style", "text_lengths", "token_credit", "training", "two_rewards", "update_seconds", "variants",
]  # fmt: skip
