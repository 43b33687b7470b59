"""Figures of the notebooks: every function takes a data frame, or what a record holds, and returns a figure."""

from ledexlib.report.plots.models import (
    ablation, budgets, example_lengths, reinforcement, scores, training, update_seconds, variants)
from ledexlib.report.plots.repairs import (
    aucs, by_problem, explanation_maps, failure_kinds, fixes_by_kind, pass_rates, rates, reward_histograms,
    rewards_by_length, rounds, text_lengths, two_rewards)
from ledexlib.report.plots.style import style
from ledexlib.report.plots.tokens import token_credit
