"""Repair: the one loop draft → verdict → feedback → repair → verdict, its caches, collection and trajectories."""

from ledexlib.repair.caches import CompletionCache, VerdictCache, longest_first, program_limits
from ledexlib.repair.loop import (
    draft_solutions, feedback_on, few_shot_drafts, model_completions, next_turn, repair_solutions,
    teacher_completions, teacher_requests)
from ledexlib.repair.trajectories import (
    assemble, correct_refinement_rate, correct_repairs, dataset_card, failure_kind, failure_table, length_table,
    mean_pass_at_k, passes_by_task, recorded_trajectories, refinement_rate, refinement_rates_by_kind,
    solved_after_rounds, table_1, unbroken_solutions, unique_solutions, verdict_counts, wrong_solutions)
