"""Evaluation: models draft, repair and are measured on benchmarks; comparisons, tables, ablations, commands."""

from ledexlib.evaluation.ablations import ablation_gains, ablation_log, ablation_metrics, ablation_table
from ledexlib.evaluation.ablations import ablation_trainings, check_ablations, run_ablations
from ledexlib.evaluation.cache import EvaluatedModel, EvaluationError
from ledexlib.evaluation.command import ablate_command, add_ablate_arguments, add_evaluate_arguments, evaluate_command
from ledexlib.evaluation.command import add_headline_arguments, add_verify_arguments, headline_command, verify_command
from ledexlib.evaluation.comparisons import compare_models, equal_budget, evaluation_metrics
from ledexlib.evaluation.evaluate import check_evaluation, evaluated_models, load_evaluation_sets, run_evaluation
from ledexlib.evaluation.evaluate import write_trajectories
from ledexlib.evaluation.metrics import edit_sizes, fix_rates_by_kind, pass_at_k_scores, repair_rates, task_counts
from ledexlib.evaluation.tables import PAPER_STAGES, example_repairs, rate_table, table_2, table_3, table_4
