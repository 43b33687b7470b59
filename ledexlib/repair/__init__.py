"""Repair: the one loop draft → verdict → feedback → repair → verdict, its caches, collection and trajectories."""

from ledexlib.repair.collection import few_shot_drafts, model_completions, teacher_completions, teacher_requests
from ledexlib.repair.completions import CompletionCache, longest_first
from ledexlib.repair.loop import draft_solutions, feedback_on, next_turn, repair_solutions
from ledexlib.repair.trajectories import (
    assemble,
    correct_refinement_rate,
    correct_repairs,
    dataset_card,
    failure_kind,
    failure_table,
    length_table,
    mean_pass_at_k,
    passes_by_task,
    recorded_trajectories,
    refinement_rate,
    refinement_rates_by_kind,
    solved_after_rounds,
    table_1,
    unbroken_solutions,
    unique_solutions,
    verdict_counts,
    wrong_solutions,
)
from ledexlib.repair.verdicts import VerdictCache, program_limits

__all__ = [
    "CompletionCache", "VerdictCache", "assemble", "correct_refinement_rate", "correct_repairs", "dataset_card",
    "draft_solutions", "failure_kind", "failure_table", "feedback_on", "few_shot_drafts", "length_table",
    "longest_first", "mean_pass_at_k", "model_completions", "next_turn", "passes_by_task", "program_limits",
    "recorded_trajectories", "refinement_rate", "refinement_rates_by_kind", "repair_solutions", "solved_after_rounds",
    "table_1", "teacher_completions", "teacher_requests", "unbroken_solutions", "unique_solutions", "verdict_counts",
    "wrong_solutions",
]  # fmt: skip
