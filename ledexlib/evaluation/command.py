"""The command ``python -m ledexlib evaluate``: one model, or recorded attempts, on any benchmarks, outside a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from ledexlib.evaluation import export as attempts
from ledexlib.evaluation import evaluate
from ledexlib.params import layers as params
from ledexlib.runs.storage import ArtifactError, lock, write_json
from ledexlib.runs.progress import Progress
from ledexlib.models.interface import check_generator
from ledexlib.evaluation.cache import Candidate, EvaluationError, label_of, located
from ledexlib.params.layers import ParameterError
from ledexlib.problems.registry import ProblemError
from ledexlib.evaluation.metrics import NAMES, rates, scores, task_table
from ledexlib.params.paths import resolve
from ledexlib.params.vocabulary import Params

REFUSED = (ParameterError, ProblemError, EvaluationError, ArtifactError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``evaluate``."""
    parser.description = (
        "Sample programs from a model, run them, have the model repair those that fail, and run the repairs. "
        "The same command again goes on where it stopped, or prints the results."
    )
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="PARAMS.yaml", help="parameter files; a later one wins")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="PATH", help="a checkpoint folder, a hub name, or 'mini'")
    what.add_argument("--recorded", type=Path, action="append", metavar="FILE", help="attempts a model left behind")
    add("--benchmark", required=True, metavar="NAME,NAME=PATH,…", help="benchmarks, each with the path of its data")
    add("--style", choices=("chat", "few_shot"), default="chat", help="how it is asked (default: %(default)s)")
    add("--samples", type=int, metavar="N", help="programs for each problem (n_samples)")
    add("--feedback-from", choices=("benchmark", "public"), help="tests whose failures the model is shown")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder of samples, verdicts and results")
    add("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a parameter")


def parameters(args: argparse.Namespace) -> Params:
    """The parameters of the files and options; all problems of the benchmarks unless the parameters say otherwise."""
    given = {
        "model": args.model,
        "evaluate_benchmarks": [entry for entry in args.benchmark.split(",") if entry],
        "n_samples": args.samples,
        "feedback_from": args.feedback_from,
    }
    p = params.load(args.files, args.overrides)
    values = {"evaluate_max_problems": None, **p.model_dump(include=p.model_fields_set)}
    return params.check(values | {name: value for name, value in given.items() if value is not None})


def main(args: argparse.Namespace) -> int:
    """The subcommand ``evaluate``: exit status 0, or 2 with a message if what was given cannot be used."""
    try:
        p = parameters(args)
        if args.model:
            check_generator("model", p)
        args.out.mkdir(parents=True, exist_ok=True)
        held = lock(args.out / ".lock")
        if held is None:
            raise EvaluationError(f"{args.out} is being written by another process; wait for it, or use another folder")
        with held:
            _evaluate(args, p)
    except REFUSED as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _evaluate(args: argparse.Namespace, p: Params) -> None:
    def progress(total: int, label: str, done: int) -> Progress:
        return Progress(args.out, total, label, done)

    benchmarks = evaluate.load_benchmarks(p, {args.style} if args.model else set())
    if args.recorded:
        if len(benchmarks) > 1:
            raise EvaluationError("recorded attempts are of one benchmark: name that one")
        files = [resolve(path) for path in args.recorded]
        by_model = attempts.recorded(files, benchmarks[0].problems, p, args.out, progress)
        found = {model: {benchmarks[0].name: mine} for model, mine in by_model.items()}
    else:
        candidate = Candidate(label_of(args.model), located(args.model), args.style)
        found = {candidate.label: evaluate.evaluate(candidate, benchmarks, p, args.out, progress)}
    for label, by_benchmark in found.items():
        attempts.write_attempts(args.out / label, by_benchmark)
    table = task_table(found, {benchmark.name: benchmark.problems for benchmark in benchmarks})
    figures, repair = scores(table), rates(table)
    write_json(args.out / "results.json", {
        "parameters": p.model_dump(), "scores": figures.to_dict("records"), "rates": repair.to_dict("records"),
    })  # fmt: skip
    print(report(table, figures, repair, p))


def report(table: pd.DataFrame, figures: pd.DataFrame, repair: pd.DataFrame, p: Params) -> str:
    """The results as text, with 95 % intervals by problem."""
    lines = [f"Feedback from the tests of {'the benchmark' if p.feedback_from == 'benchmark' else 'the prompt only'}."]
    for (model, benchmark), part in figures.groupby(["model", "benchmark"], sort=False):
        mine = table[(table["model"] == model) & ((table["benchmark"] == benchmark) | (benchmark == "overall"))]
        lines.append(f"{model} on {benchmark}: {len(mine):,} tasks, {int(mine['samples'].sum()):,} programs")
        for score, rows in part.groupby("score", sort=False):
            cells = [f"pass@{row.k} {row.value:.2f} % [{row.low:.2f}, {row.high:.2f}]" for row in rows.itertuples()]
            lines.append(f"  {NAMES[score]:16} {int(mine[score].sum()):,} pass; {'; '.join(cells)}")
        for row in repair[(repair["model"] == model) & (repair["benchmark"] == benchmark)].itertuples():
            if row.value == row.value:  # not NaN: something was sent to repair this way
                lines.append(f"  {NAMES[row.way]}: {row.rate} {row.value:.2f} % [{row.low:.2f}, {row.high:.2f}]")
    return "\n".join(lines)
