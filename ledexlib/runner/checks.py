"""What can be known to be wrong before any work: benchmarks, files, models, endpoints, ablations of all stages."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from ledexlib import evaluation, models, training
from ledexlib.params import ParameterError, Params, resolve
from ledexlib.problems import ProblemError, check_benchmark, check_solved_examples
from ledexlib.runs import StageSpec

REACH = 3.0  # seconds in which a server must take a connection


def check_parameters(p: Params, stages: Sequence[StageSpec]) -> None:
    """Raise ParameterError for a parameter that was set and that no stage reads: it would change nothing."""
    read = {name for stage in stages for name in stage.parameters} | {"run", "outputs"}
    if unread := sorted(p.model_fields_set - read):
        names = ", ".join(repr(name) for name in unread)
        raise ParameterError(f"{names}: set, but no stage of {stages[0].notebook.parent} reads it; remove it")


def _check_generator(role: str, p: Params) -> None:
    """That the model or teacher can be loaded and that its servers take a connection; behind a proxy nobody knows."""
    models.check_generator(role, p)
    for url in () if urllib.request.getproxies() else getattr(p, f"{role}_endpoints"):
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=REACH).close()
        except OSError as error:
            raise ParameterError(f"{role}_endpoints: no server answers at {url} ({error})") from None


def _check_collection(p: Params) -> None:
    """The problems, the examples shown to a base model, and model and teacher or the files of recorded attempts."""
    entry = f"{p.benchmark}={resolve(p.problems_path)}" if p.problems_path else p.benchmark
    check_benchmark(entry, p.split)
    for other in p.decontaminate_against:
        check_benchmark(other)
    if missing := [path for path in p.recorded if not resolve(path).exists()]:
        raise ParameterError(f"recorded: {missing[0]}: no such file")
    if not p.recorded:
        check_solved_examples(p)
        _check_generator("model", p)
        _check_generator("teacher", p)


def _check_encoder(p: Params) -> None:
    if p.encoder.startswith(("/", "./", "../", "~")) and not Path(p.encoder).expanduser().is_dir():
        raise ParameterError(f"encoder = '{p.encoder}': no such folder")


def _check_rl(p: Params) -> None:
    training.check_rl(p)
    if p.ppo_programs == "own" and p.reward_references == "solution":
        _check_generator("teacher", p)


def _check_evaluation(p: Params) -> None:
    evaluation.check_evaluation(p)
    if "base" in p.evaluate_models and not p.recorded:
        _check_generator("model", p)


CHECKS: dict[str, Callable[[Params], None]] = {
    "01_collect": _check_collection, "03_rewards": _check_encoder, "04_sft": training.check_sft, "05_ppo": _check_rl,
    "06_evaluate": _check_evaluation, "09_ablations": evaluation.check_ablations}


def check_stages(p: Params, names: Sequence[str]) -> None:
    """Look at the settings of all these stages; raises ParameterError naming every fault and its stage."""
    faults = []
    for name in (name for name in names if name in CHECKS):
        try:
            CHECKS[name](p)
        except (ParameterError, ProblemError) as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise ParameterError("\n".join(faults))
