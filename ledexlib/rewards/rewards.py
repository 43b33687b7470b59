"""The two rewards of LeDex (paper section 3), as pure functions and as a scorer of refinements and rollouts.

For a wrong program w with its correct refinements R_c and their explanations E_c, a refinement r with explanation e:

    (1)  S_cb(r) = mean over r_c in R_c of CodeBLEU(r, r_c)
    (2)  S_ut(r) = passed tests ÷ tests
    (3)  R(r)    = 5 (S_cb + S_ut) − 5                      in [−5, 5]
    (4)  S_ex(e) = mean over e_c in E_c of cos(emb(e), emb(e_c))
    (5)  R(e)    = (50 S_ex − 35) ÷ 3                       0.4 ↦ −5, 0.7 ↦ 0, 1.0 ↦ 5; not clipped

The numbers are this project's. What the paper leaves open is decided here and changed by parameters: with CodeBLEU or
the tests alone, R(r) = 10 S − 5, so that its range stays; ``explanation_map`` moves the two ends of (5); a guard that
strikes gives the lowest reward. What has no answer gets no reward, None, never 0: a verdict ``infra``, a wrong program
without a correct refinement (R_c empty), an explanation that is compared with nothing (E_c empty).
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from ledexlib.rewards.codebleu import Components, components, mean
from ledexlib.rewards.embeddings import Encoder
from ledexlib.records import Problem, Record, Solution, Trajectory, Verdict
from ledexlib.params.vocabulary import Params

LOWEST, HIGHEST = -5.0, 5.0
PAPER_MAP = (0.4, 1.0)  # the similarities that (5) sends to LOWEST and HIGHEST
COPIED_RUN = 6  # words in a row that make a copy

LeaveOut = Literal["nothing", "itself", "program"]


class Attempt(Protocol):
    """What is scored: a ``records.Refinement``, or a ``Rollout``."""

    id: str
    solution_id: str
    code: str
    explanation: str | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Rollout:
    """A model's answer to the wrong solution ``solution_id``, with the verdict on its program.

    ``explanation`` None: none was asked for, so there is R(r) alone. Blank: asked for and not given, the lowest R(e).
    """

    solution_id: str
    code: str
    explanation: str | None
    verdict: Verdict
    id: str = ""


class Reward(Record):
    """A refinement's rewards with everything they are made of; None where there is nothing to compare with."""

    total: float  # R(r) + R(e), R(e) times `explanation_weight`; or R(r) alone
    code: float  # R(r), equation 3
    explanation: float | None  # R(e), equation 5
    s_cb: float | None
    s_ut: float
    s_ex: float | None
    ngram: float | None = None  # the parts of S_cb
    weighted_ngram: float | None = None
    syntax: float | None = None
    dataflow: float | None = None
    n_references: int = 0  # |R_c|
    without_flow: int = 0  # of them without data flow, and with one that is not matched at all:
    unmatched_flow: int = 0  # in both cases CodeBLEU counts that part as 1
    guards: tuple[str, ...] = ()  # those that struck


def unit_test_share(verdict: Verdict) -> float | None:
    """S_ut, equation 2, in [0, 1]; None for the harness's own trouble. Raises ValueError without tests."""
    if verdict.status == "infra":
        return None
    if not 0 <= verdict.n_passed <= verdict.n_tests or verdict.n_tests == 0:
        raise ValueError(f"S_ut needs 0 <= passed <= tests and a test, got {verdict.n_passed} of {verdict.n_tests}")
    return verdict.n_passed / verdict.n_tests


def code_reward(s_cb: float | None, s_ut: float, kind: str = "both") -> float:
    """R(r), equation 3, in [−5, 5]; ``kind`` codebleu or tests uses one score alone, as 10 S − 5.

    Raises ValueError for a score that is missing, NaN or outside [0, 1].
    """
    used = {"both": (s_cb, s_ut), "codebleu": (s_cb, s_cb), "tests": (s_ut, s_ut)}[kind]
    for score in used:
        if score is None or not -1e-9 <= score <= 1 + 1e-9:
            raise ValueError(f"R(r) needs scores in [0, 1], got {score}")
    return 5.0 * sum(used) - 5.0


def explanation_similarity(vector: np.ndarray, others: np.ndarray) -> float:
    """S_ex, equation 4: the mean cosine of a unit vector (d,) with unit vectors (n, d), n >= 1."""
    if not len(others):
        raise ValueError("S_ex needs at least one explanation to compare with")
    return float(np.mean(others @ vector))


def explanation_reward(s_ex: float, ends: tuple[float, float] = PAPER_MAP, clip: bool = False) -> float:
    """R(e), equation 5: the line that sends the similarities ``ends`` to −5 and 5; unbounded unless clipped.

    Raises ValueError for NaN, a similarity outside [−1, 1], or ends that do not rise.
    """
    low, high = ends
    if not -1 - 1e-6 <= s_ex <= 1 + 1e-6:
        raise ValueError(f"R(e) needs a similarity in [-1, 1], got {s_ex}")
    if not low < high:
        raise ValueError(f"R(e) needs two rising similarities, got {low} and {high}")
    reward = LOWEST + (HIGHEST - LOWEST) * (s_ex - low) / (high - low)
    return min(max(reward, LOWEST), HIGHEST) if clip else reward


def fitted_ends(similarities: Iterable[float], quantiles: Sequence[float]) -> tuple[float, float]:
    """Two quantiles of the S_ex of collected data, to replace the paper's 0.4 and 1.0 for another encoder.

    Raises ValueError without finite similarities, or if the two come out equal.
    """
    values = np.array(list(similarities), float)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("the map of R(e) is fitted to finite similarities, and there are none or others too")
    low, high = (float(v) for v in np.quantile(values, quantiles))
    if not low < high:
        raise ValueError(f"the quantiles {list(quantiles)} of the similarities are both {low}: there is no map to fit")
    return low, high


def chosen_ends(p: Params, calibration: Mapping[str, Any] | None) -> tuple[float, float]:
    """The ends of equation 5 that the parameters ask for; ``calibration`` is ``calibration.json`` of 03_rewards.

    Raises ValueError if the fitted ones are wanted and not there, or were fitted with another encoder.
    """
    if p.explanation_map == "paper":
        return PAPER_MAP
    if calibration is None or calibration["ends"] is None:
        raise ValueError("explanation_map: quantiles needs the map that 03_rewards fits, and there is none")
    if calibration["encoder"] != p.encoder:
        raise ValueError(f"the map of R(e) was fitted with encoder '{calibration['encoder']}', not '{p.encoder}'")
    low, high = calibration["ends"]
    return low, high


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def copied_share(explanation: str, *sources: str) -> float:
    """The share of an explanation's words, in [0, 1], that stand in a run of at least 6 words that a source has too."""
    words = _words(explanation)
    runs = {tuple(w[i : i + COPIED_RUN]) for w in map(_words, sources) for i in range(len(w) - COPIED_RUN + 1)}
    copied = [False] * len(words)
    for start in range(len(words) - COPIED_RUN + 1):
        if tuple(words[start : start + COPIED_RUN]) in runs:
            copied[start : start + COPIED_RUN] = [True] * COPIED_RUN
    return sum(copied) / len(words) if words else 0.0


def same_program(a: str, b: str) -> bool:
    """Whether two programs are the same but for layout and comments; if one does not parse, but for white space."""
    try:
        return ast.dump(ast.parse(a)) == ast.dump(ast.parse(b))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return a.split() == b.split()


@dataclass(frozen=True)
class _Reference:
    """A correct program with its explanation, if it has one."""

    id: str
    code: str
    explanation: str | None


class Scorer:
    """Scores answers to the wrong solutions of a collection by the references in it.

    Built once; programs and embeddings that were met before cost nothing again. ``ends`` are those of equation 5:
    None takes the paper's. ``problems`` are needed for ``reward_references: task``, which takes as R_c all correct
    refinements and correct solutions of the task with the benchmark's own reference, and as E_c all their explanations.
    """

    def __init__(
        self,
        trajectories: Sequence[Trajectory],
        p: Params,
        encoder: Encoder,
        problems: Iterable[Problem] = (),
        ends: tuple[float, float] | None = None,
    ) -> None:
        self.params, self.encoder, self.ends = p, encoder, ends or PAPER_MAP
        self.wrong: dict[str, Solution] = {t.id: t.solution for t in trajectories if not t.solution.verdict.passed}
        self._own = {t.id: ({r.code for r in t.correct}, {r.explanation for r in t.correct}) for t in trajectories}
        self._references: dict[str, list[_Reference]] = defaultdict(list)
        for t in trajectories:
            group = t.id if p.reward_references == "solution" else t.solution.task_id
            self._references[group] += [_Reference(r.id, r.code, r.explanation) for r in t.correct]
            if p.reward_references == "task" and t.solution.verdict.passed:
                self._references[group].append(_Reference(t.id, t.solution.code, None))
        if p.reward_references == "task":
            for problem in problems:
                if problem.reference.strip():
                    self._references[problem.task_id].append(_Reference("", problem.reference, None))
        texts = {r.explanation for group in self._references.values() for r in group if _given(r.explanation)}
        self._vectors = dict(zip(texts, encoder.encode(list(texts)), strict=True))

    def references(self, solution_id: str) -> list[_Reference]:
        """R_c with E_c of a wrong solution; raises KeyError for one that is not in the collection."""
        solution = self.wrong[solution_id]
        return self._references[solution_id if self.params.reward_references == "solution" else solution.task_id]

    def score(self, attempts: Sequence[Attempt], leave_out: LeaveOut = "nothing") -> list[Reward | None]:
        """The rewards of a batch in order; None where there is none to give.

        ``leave_out`` is for collected refinements, which may themselves be among R_c: 'itself' compares each with the
        others; 'program' compares all refinements of a wrong program with the references that are neither its correct
        refinements nor copies of them (the same text of the program for S_cb, of the explanation for S_ex).
        """
        texts = {a.explanation for a in attempts if _given(a.explanation)} - self._vectors.keys()
        vectors = self._vectors | dict(zip(texts, self.encoder.encode(list(texts)), strict=True))
        return [self._score(attempt, vectors, leave_out) for attempt in attempts]

    def _score(self, attempt: Attempt, vectors: dict[str, np.ndarray], leave_out: LeaveOut) -> Reward | None:
        s_ut = unit_test_share(attempt.verdict)
        codes, explanations = self._compared(attempt, leave_out)
        if s_ut is None or (not codes and self.params.code_reward != "tests"):
            return None
        found = self._mean_codebleu(attempt.code, codes) if codes else None
        compared = [vectors[text] for text in explanations]
        s_ex = None
        if compared and _given(attempt.explanation):
            s_ex = explanation_similarity(vectors[attempt.explanation], np.stack(compared))
        guards = self._guards(attempt)
        code = LOWEST if "copy" in guards else code_reward(found and found.codebleu, s_ut, self.params.code_reward)
        explanation = self._explanation_reward(attempt, s_ex, bool(compared), guards)
        parts = found._asdict() if found else {}
        s_cb = parts.pop("codebleu", None)
        return Reward(
            total=code + self.params.explanation_weight * (explanation or 0.0), code=code, explanation=explanation,
            s_cb=s_cb, s_ut=s_ut, s_ex=s_ex, guards=tuple(guards), **parts,
        )  # fmt: skip

    def _compared(self, attempt: Attempt, leave_out: LeaveOut) -> tuple[list[str], list[str]]:
        """The programs and the explanations that an attempt is compared with."""
        references = self.references(attempt.solution_id)
        if leave_out == "itself":
            references = [r for r in references if r.id != attempt.id]
        own = self._own[attempt.solution_id] if leave_out == "program" else (set(), set())
        codes = [r.code for r in references if r.code not in own[0]]
        return codes, [r.explanation for r in references if _given(r.explanation) and r.explanation not in own[1]]

    def _mean_codebleu(self, code: str, references: list[str]) -> Components:
        """Equation 1; equal references are compared once."""
        by_text = {text: components(code, text, self.params.codebleu_weights) for text in set(references)}
        return mean([by_text[text] for text in references])

    def _explanation_reward(
        self, attempt: Attempt, s_ex: float | None, comparable: bool, guards: Sequence[str]
    ) -> float | None:
        if attempt.explanation is None or not comparable:
            return None
        if s_ex is None or "length" in guards or "repetition" in guards:  # asked for and not given, or refused
            return LOWEST
        if self.params.explanation_when_passed and not attempt.verdict.passed:
            return 0.0
        return explanation_reward(s_ex, self.ends, self.params.explanation_clip)

    def _guards(self, attempt: Attempt) -> list[str]:
        """The guards that the parameters switch on and that strike: copy, length, repetition."""
        p, wrong, struck = self.params, self.wrong[attempt.solution_id], []
        if p.copy_guard and same_program(attempt.code, wrong.code):
            struck.append("copy")
        if _given(attempt.explanation):
            if p.explanation_max_words is not None and len(attempt.explanation.split()) > p.explanation_max_words:
                struck.append("length")
            if p.explanation_max_copied is not None:
                share = copied_share(attempt.explanation, wrong.code, wrong.verdict.feedback, attempt.code)
                if share > p.explanation_max_copied:
                    struck.append("repetition")
        return struck


def _given(explanation: str | None) -> bool:
    return explanation is not None and bool(explanation.strip())
