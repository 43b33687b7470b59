"""The commands ``evaluate`` (one model, or recorded attempts, outside a run) and ``ablate`` (trainings of a run)."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import pandas as pd

from ledexlib import params
from ledexlib.evaluation.ablations import ablation_trainings, run_training
from ledexlib.evaluation.cache import EvaluatedModel, EvaluationError, model_label
from ledexlib.evaluation.evaluate import check_evaluation_sets, evaluate_model, evaluate_recorded, load_evaluation_sets
from ledexlib.evaluation.export import write_trajectories
from ledexlib.evaluation.metrics import SCORE_NAMES, pass_at_k_scores, repair_rates, task_counts
from ledexlib.models import check_generator
from ledexlib.params import ParameterError, Params
from ledexlib.problems import ProblemError
from ledexlib.runs import ArtifactError, Progress, StageError, needed, run_folder, write_json
from ledexlib.training import TrainingError

REFUSED = (ParameterError, ProblemError, EvaluationError, ArtifactError, StageError, TrainingError)


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``evaluate``."""
    parser.description = (
        "Sample programs from a model, run them, have the model repair those that fail, and run the repairs. "
        "The same command again goes on where it stopped, or prints the results."
    )
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="PARAMS.yaml", help="parameter files; a later one wins")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="PATH", help="a checkpoint folder, a hub name, or a registered model's name")
    what.add_argument("--recorded", action="append", metavar="FILE", help="attempts a model left behind")
    add("--benchmark", required=True, metavar="NAME,NAME=PATH,…", help="benchmarks, each with the path of its data")
    add("--style", choices=("chat", "few_shot"), default="chat", help="how it is asked (default: %(default)s)")
    add("--samples", type=int, metavar="N", help="programs for each problem (n_samples)")
    add("--feedback-from", choices=("benchmark", "public"), help="tests whose failures the model is shown")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder of samples, verdicts and results")
    add("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a parameter")


def _parameters(args: argparse.Namespace) -> Params:
    """The parameters of the files and options; all problems of the benchmarks unless the parameters say otherwise."""
    given = {
        "model": args.model,
        "recorded": args.recorded or [],
        "evaluate_benchmarks": [entry for entry in args.benchmark.split(",") if entry],
        "n_samples": args.samples,
        "feedback_from": args.feedback_from,
    }
    p = params.load(args.files, args.overrides)
    values = {"evaluate_max_problems": None, **p.model_dump(include=p.model_fields_set)}
    return params.validate(values | {name: value for name, value in given.items() if value is not None})


def evaluate_command(args: argparse.Namespace) -> int:
    """The subcommand ``evaluate``: exit status 0, or 2 with a message if what was given cannot be used."""
    try:
        p = _parameters(args)
        check_evaluation_sets(p, args.style == "few_shot")
        if args.model:
            check_generator("model", p)
        _evaluate(args, p)
    except REFUSED as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _evaluate(args: argparse.Namespace, p: Params) -> None:
    progress = partial(Progress, args.out)
    if args.recorded:
        (shown,) = sets = load_evaluation_sets(p)
        found = evaluate_recorded(p.recorded, shown, p, args.out, progress)
    else:
        model = EvaluatedModel(model_label(args.model), args.model, args.style)
        sets = load_evaluation_sets(p, [model])
        found = {model.label: evaluate_model(model, sets, p, args.out, progress)}
    for label, by_benchmark in found.items():
        write_trajectories(args.out / label, by_benchmark)
    counts = task_counts(found, sets)
    scores, rates = pass_at_k_scores(counts), repair_rates(counts)
    write_json(args.out / "results.json", {
        "parameters": p.model_dump(), "scores": scores.to_dict("records"), "rates": rates.to_dict("records"),
    })  # fmt: skip
    print(_report(counts, scores, rates, p))


def _report(counts: pd.DataFrame, scores: pd.DataFrame, rates: pd.DataFrame, p: Params) -> str:
    """The results as text, with 95 % intervals by problem."""
    lines = [f"Feedback from the tests of {'the benchmark' if p.feedback_from == 'benchmark' else 'the prompt only'}."]
    for (model, benchmark), part in scores.groupby(["model", "benchmark"], sort=False):
        mine = counts[(counts["model"] == model) & ((counts["benchmark"] == benchmark) | (benchmark == "overall"))]
        lines.append(f"{model} on {benchmark}: {len(mine):,} tasks, {int(mine['samples'].sum()):,} programs")
        for score, rows in part.groupby("score", sort=False):
            texts = [f"pass@{row.k} {row.value:.2f} % [{row.low:.2f}, {row.high:.2f}]" for row in rows.itertuples()]
            lines.append(f"  {SCORE_NAMES[score]:16} {int(mine[score].sum()):,} pass; {'; '.join(texts)}")
        for row in rates[(rates["model"] == model) & (rates["benchmark"] == benchmark)].itertuples():
            if row.value == row.value:  # not NaN: something was sent to repair this way
                lines.append(f"  {SCORE_NAMES[row.way]}: {row.rate} {row.value:.2f} % [{row.low:.2f}, {row.high:.2f}]")
    return "\n".join(lines)


def add_ablate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``ablate``."""
    parser.description = "Make some of a run's ablation trainings, which 09_ablations will find."
    params.add_arguments(parser, named=True)
    parser.add_argument("--trainings", nargs="+", required=True, metavar="LABEL", help="variant-seed, such as own-1")


def ablate_command(args: argparse.Namespace) -> int:
    """The subcommand ``ablate``: exit status 0, or 2 with a message if it is refused."""
    try:
        p = params.from_arguments(args)
        trainings = ablation_trainings(p, lambda name: needed(run_folder(p), name, by="09_ablations"))
        by_label = {training.label: training for training in trainings}
        if unknown := [label for label in args.trainings if label not in by_label]:
            raise ParameterError(f"--trainings: {', '.join(unknown)} is none of {', '.join(by_label)}")
        sets = load_evaluation_sets(p)
        for label in args.trainings:
            print(label, flush=True)
            training = by_label[label]
            run_training(training, trainings, sets, p, partial(Progress, training.folder))
    except REFUSED as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
