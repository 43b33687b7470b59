"""The commands of evaluation: ``evaluate`` (a model, or recorded attempts), ``ablate``, ``headline`` and ``verify``."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ledexlib import params, problems
from ledexlib.evaluation import evaluate, samples
from ledexlib.evaluation.ablations import ablation_trainings, run_training
from ledexlib.evaluation.cache import EvaluatedModel, EvaluationError, model_label
from ledexlib.evaluation.metrics import SCORE_NAMES, pass_at_k_scores, repair_rates, task_counts
from ledexlib.models import check_generator
from ledexlib.params import ParameterError, Params
from ledexlib.runs import Progress, needed, run_folder, write_json


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``evaluate``."""
    parser.description = (
        "Sample programs from a model, run them, have the model repair those that fail, and run the repairs. "
        "The same command again goes on where it stopped, or prints the results.")
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
        "model": args.model, "recorded": args.recorded, "n_samples": args.samples, "feedback_from": args.feedback_from,
        "evaluate_benchmarks": [entry for entry in args.benchmark.split(",") if entry]}
    values = {"recorded": [], **{name: value for name, value in given.items() if value is not None}}
    stated = params.load(args.files, args.overrides).model_dump(exclude_unset=True)
    return params.validate({"evaluate_max_problems": None, **stated, **values})


def evaluate_command(args: argparse.Namespace) -> None:
    """The subcommand ``evaluate``: the results as text, and trajectories and results in a folder."""
    p, progress = _parameters(args), partial(Progress, args.out)
    evaluate.check_evaluation_sets(p, args.style == "few_shot")
    if args.recorded:
        sets = evaluate.load_evaluation_sets(p)
        found = evaluate.evaluate_recorded(sets[0], p, args.out, progress)
    else:
        check_generator("model", p)
        model = EvaluatedModel(model_label(args.model), args.model, args.style)
        sets = evaluate.load_evaluation_sets(p, [model])
        found = {model.label: evaluate.evaluate_model(model, sets, p, args.out, progress)}
    for label, by_benchmark in found.items():
        evaluate.write_trajectories(args.out / label, by_benchmark)
    counts = task_counts(found, sets)
    scores, rates = pass_at_k_scores(counts), repair_rates(counts)
    results = {"scores": scores.to_dict("records"), "rates": rates.to_dict("records")}
    write_json(args.out / "results.json", {"parameters": p.model_dump(), **results})
    print(_report(counts, scores, rates, p))


def _report(counts: pd.DataFrame, scores: pd.DataFrame, rates: pd.DataFrame, p: Params) -> str:
    lines = [f"Feedback from the tests of {'the benchmark' if p.feedback_from == 'benchmark' else 'the prompt only'}."]
    for (model, benchmark), part in scores.groupby(["model", "benchmark"], sort=False):
        mine = counts[(counts["model"] == model) & ((counts["benchmark"] == benchmark) | (benchmark == "overall"))]
        lines.append(f"{model} on {benchmark}: {len(mine):,} tasks, {int(mine['samples'].sum()):,} programs")
        for score, rows in part.groupby("score", sort=False):
            texts = [f"pass@{row.k} {row.value:.2f} % [{row.low:.2f}, {row.high:.2f}]" for row in rows.itertuples()]
            lines.append(f"  {SCORE_NAMES[score]:16} {int(mine[score].sum()):,} pass; {'; '.join(texts)}")
        known = rates[(rates["model"] == model) & (rates["benchmark"] == benchmark)].dropna()  # something was sent
        for row in known.itertuples():
            lines.append(f"  {SCORE_NAMES[row.way]}: {row.rate} {row.value:.2f} % [{row.low:.2f}, {row.high:.2f}]")
    return "\n".join(lines)


def add_ablate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``ablate``."""
    parser.description = "Make some of a run's ablation trainings, which 09_ablations will find."
    params.add_arguments(parser, named=True)
    parser.add_argument("--trainings", nargs="+", required=True, metavar="LABEL", help="variant-seed, such as own-1")


def ablate_command(args: argparse.Namespace) -> None:
    """The subcommand ``ablate``: the trainings, each with its evaluation."""
    p = params.from_arguments(args)
    trainings = ablation_trainings(p, lambda name: needed(run_folder(p), name, by="09_ablations"))
    by_label = {training.label: training for training in trainings}
    if unknown := [label for label in args.trainings if label not in by_label]:
        raise ParameterError(f"--trainings: {', '.join(unknown)} is none of {', '.join(by_label)}")
    sets = evaluate.load_evaluation_sets(p)
    for label in args.trainings:
        print(label, flush=True)
        run_training(by_label[label], trainings, sets, p, partial(Progress, by_label[label].folder))


def run_headline(folder: Path) -> dict[str, Any]:
    """The metrics of a run's evaluation. Where its reinforcement was repeated with several seeds (09_ablations, variant
    ``own``), its gain is over all of them. Raises StageError if a stage is missing, damaged or outdated."""
    found, ablations = needed(folder, "06_evaluate", by="the headline").metrics, {}
    if (folder / "09_ablations" / "done.json").exists():
        ablations = needed(folder, "09_ablations", by="the headline").metrics
    return {**found, "gains": {**found["gains"], **ablations.get("gains", {})}}


def add_headline_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``headline``."""
    parser.description = "Print the headline figures of a run's evaluation as JSON."
    parser.add_argument("folder", type=Path, metavar="outputs/RUN", help="the run's folder")


def headline_command(args: argparse.Namespace) -> None:
    """The subcommand ``headline``: the figures of a run's evaluation as JSON."""
    print(json.dumps(run_headline(args.folder), indent=2))


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``verify``."""
    parser.description = "Run samples against a benchmark's tests; one verdict a line, in the samples' order."
    add, names = parser.add_argument, problems.benchmark_names()
    add("--benchmark", required=True, choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    add("--data", type=Path, metavar="PATH", help="the benchmark's original file or folder (default: the hub)")
    add("--split", help="use only this split's problems (default: all splits)")
    add("--samples", type=Path, required=True, metavar="PATH", help="JSON lines (task_id, solution), or TASK/0.py …")
    add("--out", type=Path, required=True, metavar="FILE", help="JSON lines: a verdict for each sample")
    add("--workers", type=int, default=2, metavar="N", help="programs run at once (default: %(default)s)")
    add("--timeout", type=float, default=15.0, metavar="S", help="a program's seconds (default: %(default)s)")


def verify_command(args: argparse.Namespace) -> None:
    """The subcommand ``verify``: a file of verdicts, and their summary."""
    given = {"workers": args.workers, "timeout": args.timeout}
    p = params.validate(given, {name: f"--{name}" for name in given})
    if not args.samples.exists():  # said before a long download of problems
        raise EvaluationError(f"{args.samples}: no such file of samples")
    if args.out.is_dir():
        raise EvaluationError(f"{args.out}: is a folder; --out names the file to write")
    by_task = {problem.task_id: problem for problem in problems.load_problems(args.benchmark, args.split, args.data)}
    rows = samples.write_verdicts(samples.read_samples(args.samples, by_task), by_task, args.out, p)
    print(samples.summary(rows))
