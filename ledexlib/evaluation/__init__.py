"""Evaluation: models draft, repair and are measured on benchmarks; comparisons, tables, ablations, commands."""

from ledexlib.evaluation.ablation_tables import ablation_gains, ablation_metrics, ablation_table
from ledexlib.evaluation.ablations import ablation_log, ablation_trainings, check_ablations, run_ablations
from ledexlib.evaluation.cache import EvaluatedModel, EvaluationError
from ledexlib.evaluation.command import ablate_command, add_ablate_arguments, add_evaluate_arguments, evaluate_command
from ledexlib.evaluation.comparisons import compare_models, equal_budget
from ledexlib.evaluation.evaluate import check_evaluation, evaluated_models, load_evaluation_sets, run_evaluation
from ledexlib.evaluation.export import example_repairs, write_trajectories
from ledexlib.evaluation.headline import add_headline_arguments, evaluation_metrics, headline_command
from ledexlib.evaluation.metrics import edit_sizes, fix_rates_by_kind, pass_at_k_scores, repair_rates, task_counts
from ledexlib.evaluation.samples import add_verify_arguments, verify_command
from ledexlib.evaluation.tables import (
    PAPER_STAGES,
    explanation_rate_table,
    repair_rate_table,
    table_2,
    table_3,
    table_4,
)

__all__ = [
    "PAPER_STAGES", "EvaluatedModel", "EvaluationError", "ablate_command", "ablation_gains", "ablation_log",
    "ablation_metrics", "ablation_table", "ablation_trainings", "add_ablate_arguments", "add_evaluate_arguments",
    "add_headline_arguments", "add_verify_arguments", "check_ablations", "check_evaluation", "compare_models",
    "edit_sizes", "equal_budget", "evaluate_command", "evaluated_models", "evaluation_metrics", "example_repairs",
    "explanation_rate_table", "fix_rates_by_kind", "headline_command", "load_evaluation_sets", "pass_at_k_scores",
    "repair_rate_table", "repair_rates", "run_ablations", "run_evaluation", "table_2", "table_3", "table_4",
    "task_counts", "verify_command", "write_trajectories",
]  # fmt: skip
