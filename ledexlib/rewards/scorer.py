"""The rewards of refinements, collected or a policy's, by the references that a collection holds."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

import ledexlib.rewards.equations as equations
from ledexlib.params import Params
from ledexlib.records import Problem, Record, Refinement, Solution, Trajectory
from ledexlib.rewards.codebleu import codebleu_parts, mean_codebleu
from ledexlib.rewards.embeddings import Encoder

LeaveOut = Literal["nothing", "itself", "program"]


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


class Reference(NamedTuple):
    """A correct program with its explanation, if it has one; ``id`` is the refinement's or solution's."""
    id: str
    code: str
    explanation: str | None


class Scorer:
    """Scores refinements of the wrong solutions in a collection by the references in it.
    Built once; programs and embeddings that were met before cost nothing again. ``ends`` are those of equation 5.
    ``problems`` are needed for ``reward_references: task``, which takes as R_c all correct refinements and correct
    solutions of the task with the benchmark's own reference, and as E_c all their explanations."""

    def __init__(
        self, trajectories: Sequence[Trajectory], p: Params, encoder: Encoder, problems: Iterable[Problem] = (),
        ends: tuple[float, float] = equations.PAPER_ENDS) -> None:
        self.params, self.encoder, self.ends = p, encoder, ends
        self.wrong: dict[str, Solution] = {t.id: t.solution for t in trajectories if not t.solution.verdict.passed}
        self._own = {t.id: ({r.code for r in t.correct}, {r.explanation for r in t.correct}) for t in trajectories}
        self._references: dict[str, list[Reference]] = defaultdict(list)
        for t in trajectories:
            group = self._group(t.solution)
            self._references[group] += [Reference(r.id, r.code, r.explanation) for r in t.correct]
            if p.reward_references == "task" and t.solution.verdict.passed:
                self._references[group].append(Reference(t.id, t.solution.code, None))
        for problem in problems if p.reward_references == "task" else ():
            if problem.reference.strip():
                self._references[problem.task_id].append(Reference("", problem.reference, None))
        self._vectors: dict[str, np.ndarray] = {}
        self._vectors = self._with_vectors(r.explanation for group in self._references.values() for r in group)

    def _group(self, solution: Solution) -> str:
        return solution.id if self.params.reward_references == "solution" else solution.task_id

    def references(self, solution_id: str) -> list[Reference]:
        """R_c with E_c of a wrong solution; raises KeyError for one that is not in the collection."""
        return self._references[self._group(self.wrong[solution_id])]

    def score(self, refinements: Sequence[Refinement], leave_out: LeaveOut = "nothing") -> list[Reward | None]:
        """The rewards of refinements with verdicts, in order; None, never 0, where there is no answer.
        That is: the verdict ``infra``; no reference (R_c empty); R(e) alone if no explanation was asked for (None) or
        none can be compared (E_c empty). One that was asked for and is blank gets the lowest R(e)."""
        vectors = self._with_vectors(r.explanation for r in refinements)
        return [self._score(refinement, vectors, leave_out) for refinement in refinements]

    def compared(self, refinement: Refinement, leave_out: LeaveOut = "nothing") -> tuple[list[str], list[str]]:
        """The programs R_c and the explanations E_c that a refinement is compared with.
        ``leave_out`` is for collected refinements, which may themselves be among R_c: 'itself' compares each with the
        others; 'program' compares all refinements of a wrong program with the references that are neither its correct
        refinements nor copies of them (the same text of the program for S_cb, of the explanation for S_ex)."""
        references = self.references(refinement.solution_id)
        if leave_out == "itself":
            references = [r for r in references if r.id != refinement.id]
        own = self._own[refinement.solution_id] if leave_out == "program" else (set(), set())
        codes = [r.code for r in references if r.code not in own[0]]
        return codes, [r.explanation for r in references if _given(r.explanation) and r.explanation not in own[1]]

    def _with_vectors(self, explanations: Iterable[str | None]) -> dict[str, np.ndarray]:
        """The embeddings of the references and of these; in their order, which a set would leave to the process."""
        new = list(dict.fromkeys(e for e in explanations if _given(e) and e not in self._vectors))
        return self._vectors | dict(zip(new, self.encoder.encode(new), strict=True))

    def _score(self, refinement: Refinement, vectors: dict[str, np.ndarray], leave_out: LeaveOut) -> Reward | None:
        p, s_ut = self.params, equations.unit_test_share(refinement.verdict)
        codes, explanations = self.compared(refinement, leave_out)
        if s_ut is None or (not codes and p.code_reward != "tests"):
            return None
        by_text = {text: codebleu_parts(refinement.code, text, p.codebleu_weights) for text in set(codes)}
        parts = mean_codebleu([by_text[text] for text in codes])._asdict() if codes else {}
        s_cb = parts.pop("codebleu", None)
        code = equations.code_reward(s_cb, s_ut, p.code_reward)
        s_ex = explanation = None
        if explanations and _given(refinement.explanation):
            others = np.stack([vectors[text] for text in explanations])
            s_ex = equations.explanation_similarity(vectors[refinement.explanation], others)
            explanation = equations.explanation_reward(s_ex, self.ends, p.explanation_clip)
            if p.explanation_when_passed and not refinement.verdict.passed:
                explanation = 0.0
        elif explanations and refinement.explanation is not None:  # asked for and not given
            explanation = equations.LOWEST
        total = code + p.explanation_weight * (explanation or 0.0)
        return Reward(total=total, code=code, explanation=explanation, s_cb=s_cb, s_ut=s_ut, s_ex=s_ex, **parts)


def _given(explanation: str | None) -> bool:
    return bool(explanation and explanation.strip())
