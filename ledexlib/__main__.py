"""The command line: ``python -m ledexlib run | status | verify | evaluate | sandbox``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ledexlib.params.paths import NOTEBOOKS, resolve


def parser(wanted: str | None) -> argparse.ArgumentParser:
    """The argument parser; the options of what is slow to import are filled in only if wanted."""
    top = argparse.ArgumentParser(prog="python -m ledexlib", description="Make, list and verify LeDex runs.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    run = commands.add_parser("run", help="run the notebooks in order, skipping stages that are up to date")
    run.add_argument("files", nargs="*", type=Path, metavar="PARAMS.yaml", help="parameter files; a later one wins")
    run.add_argument("--run", dest="name", metavar="NAME", help="name of the run, its folder under outputs/")
    run.add_argument("--from", dest="first", metavar="STAGE", help="first stage: 01_collect, collect or 01")
    run.add_argument("--to", dest="last", metavar="STAGE", help="last stage")
    run.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a parameter")
    run.add_argument("--notebooks", dest="folder", type=Path, default=NOTEBOOKS, help="folder of the notebooks")

    status = commands.add_parser("status", help="list runs, stages, times and key metrics")
    status.add_argument("--run", dest="name", metavar="NAME", help="only this run")
    status.add_argument("--outputs", default="outputs", help="folder of all runs")

    verify = commands.add_parser("verify", help="run programs against a benchmark's tests")
    if wanted == "verify":
        from ledexlib.evaluation import samples as verifier

        verifier.add_arguments(verify)

    evaluate = commands.add_parser("evaluate", help="measure a model's programs and its repairs on benchmarks")
    if wanted == "evaluate":
        from ledexlib.evaluation import command as evaluate_command

        evaluate_command.add_arguments(evaluate)

    commands.add_parser("sandbox", help="list the layers that keep programs apart from this machine")
    return top


def run_command(arguments: argparse.Namespace) -> int:
    """``python -m ledexlib run``: status 0, 1 after a failed stage, 2 if refused, 130 after an interrupt."""
    from ledexlib.runner import execution as pipeline

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's kill ends a run like Ctrl-C
    options = {name: value for name, value in vars(arguments).items() if name != "command"}
    try:
        return pipeline.run(**options)
    except pipeline.REFUSED as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def status_command(arguments: argparse.Namespace) -> int:
    """``python -m ledexlib status``."""
    from ledexlib.report import pages as report
    from ledexlib.runs.stage import ArtifactError, StageError

    try:
        print(report.status(resolve(arguments.outputs), arguments.name))
    except (StageError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def sandbox_command(_: argparse.Namespace) -> int:
    """``python -m ledexlib sandbox``: a line for each layer of isolation."""
    from ledexlib.sandbox import LAYERS, layers_here

    states = layers_here()
    for name, use in LAYERS.items():
        print(f"{name:18}{f'no ({states[name]})' if states[name] else 'yes':6} {use}")
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit status."""
    words = sys.argv[1:] if words is None else words
    top = parser(words[0] if words else None)
    arguments = top.parse_args(words)
    if arguments.command is None:
        top.print_help()
        return 0
    if arguments.command == "verify":
        from ledexlib.evaluation import samples as verify

        return verify.main(arguments) or 0
    if arguments.command == "evaluate":
        from ledexlib.evaluation import command as evaluate_command

        return evaluate_command.main(arguments)
    return {"run": run_command, "status": status_command, "sandbox": sandbox_command}[arguments.command](arguments)


if __name__ == "__main__":
    sys.exit(main())
