"""The command line, ``ledex`` or ``python -m ledexlib``: all commands."""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ledexlib.params import NOTEBOOKS, Refused, resolve

# What each command is for, and the room whose ``add_<command>_arguments`` and ``<command>_command`` make it.
COMMANDS = {
    "run": ("run the notebooks in order, skipping stages that are up to date", "ledexlib.__main__"),
    "status": ("list runs, stages, times and key metrics", "ledexlib.__main__"),
    "verify": ("run programs against a benchmark's tests", "ledexlib.evaluation"),
    "evaluate": ("measure a model's programs and its repairs on benchmarks", "ledexlib.evaluation"),
    "train": ("train in the folder of a run's stage, in one process of several or by hand", "ledexlib.training"),
    "ablate": ("make some of an ablation's trainings, such as on a second core", "ledexlib.evaluation"),
    "headline": ("print the headline figures of a run", "ledexlib.evaluation"),
    "sandbox": ("list the layers that keep programs apart", "ledexlib.__main__")}


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
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
    """Make a run: status 0, 1 after a failed stage."""
    from ledexlib import runner

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's kill ends a run like Ctrl-C
    return runner.run(**{name: value for name, value in vars(arguments).items() if name != "command"})


def add_status_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``status``."""
    parser.add_argument("--run", dest="name", metavar="NAME", help="only this run")
    parser.add_argument("--outputs", default="outputs", help="folder of all runs")


def status_command(arguments: argparse.Namespace) -> None:
    """List runs, stages, times and key metrics."""
    from ledexlib.report import status_text

    print(status_text(resolve(arguments.outputs), arguments.name))


def sandbox_command(_: argparse.Namespace) -> None:
    """List the layers of isolation, a line each."""
    from ledexlib.sandbox import LAYERS, layers_here

    states = layers_here()
    for name, use in LAYERS.items():
        print(f"{name:18}{f'no ({states[name]})' if states[name] else 'yes':6} {use}")


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 2 with a message if what was given cannot be used, 130 after an interrupt."""
    words = sys.argv[1:] if words is None else words
    top = argparse.ArgumentParser(prog="ledex", description="Make, list and verify LeDex runs.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=use, description=use) for name, (use, _) in COMMANDS.items()}
    wanted = words[0] if words and words[0] in COMMANDS else None
    if wanted:  # only its room is imported
        room = importlib.import_module(COMMANDS[wanted][1])
        getattr(room, f"add_{wanted}_arguments", lambda _: None)(parsers[wanted])
    arguments = top.parse_args(words)
    if not wanted:
        top.print_help()
        return 0
    try:
        return getattr(room, f"{wanted}_command")(arguments) or 0
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
