"""The command line, ``ledex`` or ``python -m ledexlib``: all commands."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ledexlib.params import NOTEBOOKS, resolve


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``run``."""
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="PARAMS.yaml", help="parameter files; a later one wins")
    add("--run", dest="name", metavar="NAME", help="name of the run, its folder under outputs/")
    add("--from", dest="first", metavar="STAGE", help="first stage: 01_collect, collect or 01")
    add("--to", dest="last", metavar="STAGE", help="last stage")
    add("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a parameter")
    add("--fresh", action="append", default=[], metavar="STAGE", help="make this stage anew, and all that need it")
    add("--dry-run", action="store_true", help="say what would be done, and check all that can be checked without work")
    add("--notebooks", dest="folder", type=Path, default=NOTEBOOKS, help="folder of the notebooks and their table")


def run_command(arguments: argparse.Namespace) -> int:
    """Make a run: status 0, 1 after a failed stage, 2 if refused, 130 after an interrupt."""
    from ledexlib import runner

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's kill ends a run like Ctrl-C
    options = {name: value for name, value in vars(arguments).items() if name != "command"}
    try:
        return runner.run(**options)
    except runner.REFUSED as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def status_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``status``."""
    parser.add_argument("--run", dest="name", metavar="NAME", help="only this run")
    parser.add_argument("--outputs", default="outputs", help="folder of all runs")


def status_command(arguments: argparse.Namespace) -> int:
    """List runs, stages, times and key metrics."""
    from ledexlib import report
    from ledexlib.runs import ArtifactError, StageError

    try:
        print(report.status_text(resolve(arguments.outputs), arguments.name))
    except (StageError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def sandbox_command(_: argparse.Namespace) -> int:
    """List the layers of isolation, a line each."""
    from ledexlib.sandbox import LAYERS, layers_here

    states = layers_here()
    for name, use in LAYERS.items():
        print(f"{name:18}{f'no ({states[name]})' if states[name] else 'yes':6} {use}")
    return 0


Declare = Callable[[argparse.ArgumentParser], None]
Command = Callable[[argparse.Namespace], int]


def _verify() -> tuple[Declare, Command]:
    from ledexlib.evaluation import add_verify_arguments, verify_command

    return add_verify_arguments, verify_command


def _evaluate() -> tuple[Declare, Command]:
    from ledexlib.evaluation import add_evaluate_arguments, evaluate_command

    return add_evaluate_arguments, evaluate_command


def _train() -> tuple[Declare, Command]:
    from ledexlib.training import add_train_arguments, train_command

    return add_train_arguments, train_command


def _ablate() -> tuple[Declare, Command]:
    from ledexlib.evaluation import ablate_command, add_ablate_arguments

    return add_ablate_arguments, ablate_command


def _headline() -> tuple[Declare, Command]:
    from ledexlib.evaluation import add_headline_arguments, headline_command

    return add_headline_arguments, headline_command


# What each command is for, and its options and function, imported when it is asked for.
COMMANDS: dict[str, tuple[str, Callable[[], tuple[Declare, Command]]]] = {
    "run": ("run the notebooks in order, skipping stages that are up to date", lambda: (run_arguments, run_command)),
    "status": ("list runs, stages, times and key metrics", lambda: (status_arguments, status_command)),
    "verify": ("run programs against a benchmark's tests", _verify),
    "evaluate": ("measure a model's programs and its repairs on benchmarks", _evaluate),
    "train": ("train in the folder of a run's stage, in one process of several or by hand", _train),
    "ablate": ("make some of an ablation's trainings, such as on a second core", _ablate),
    "headline": ("print the headline figures of a run", _headline),
    "sandbox": ("list the layers that keep programs apart", lambda: (lambda _: None, sandbox_command)),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    words = sys.argv[1:] if words is None else words
    top = argparse.ArgumentParser(prog="ledex", description="Make, list and verify LeDex runs.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=use, description=use) for name, (use, _) in COMMANDS.items()}
    wanted = next((word for word in words if word in COMMANDS), None)
    command: Command | None = None
    if wanted:
        declare, command = COMMANDS[wanted][1]()
        declare(parsers[wanted])
    arguments = top.parse_args(words)
    if command is None:
        top.print_help()
        return 0
    return command(arguments)


if __name__ == "__main__":
    sys.exit(main())
