"""CodeBLEU between Python programs: what ``calc_codebleu`` of the package codebleu 0.7.0 gives on every pair, faster.

The package tokenises and parses both programs anew for every pair. Here a program is read once, into sets, and a pair
costs a few intersections: a multiset becomes a set by numbering repetitions, so that BLEU's clipped counts are the size
of an intersection.

What the package does is kept, its oddities too:

- A data-flow match of exactly 0 counts as 1 in the weighted sum. It is 0 if the reference has no data flow, and also
  if it has some and none of it is matched, as for most programs that do not parse. ``CodeBLEU`` counts both.
- Where a value has several parents, their order is that of a set of names: here always as under ``PYTHONHASHSEED=0``
  (see ``set_order``).
- A program that does not parse is scored: tree-sitter makes a tree of any text."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import codebleu as package
from codebleu.parser import remove_comments_and_docstrings

from ledexlib.rewards.dataflow import subtrees_and_flows

WEIGHTS = (0.25, 0.25, 0.25, 0.25)  # the package's: n-grams, weighted n-grams, syntax, data flow
ORDERS = 4
SMOOTHING = 0.1  # matches counted for an order of n-grams that has none
PLAIN_WEIGHT = 0.2  # of a 1-gram that is no keyword, in weighted n-grams
WEIGHTED_LENGTH = 2  # of every reference in weighted n-grams: the package takes the length of (tokens, weights)
KEYWORDS = frozenset((Path(package.__file__).parent / "keywords" / "python.txt").read_text().split())
PROGRAMS_KEPT = 8192  # by `read`


@dataclass(frozen=True)
class Structure:
    """What CodeBLEU counts in a program's syntax tree and data flow."""
    subtrees: frozenset[str]  # as s-expressions, each once
    n_subtrees: int  # with repetitions
    repeated: dict[str, int]  # how often more than once the subtrees occur that do
    flows: frozenset[str]  # edges of the data flow, a repeated one once for each time, numbered


@dataclass(frozen=True)
class Program:
    """What CodeBLEU counts in a program; a set holds a repeated element once for each time, numbered."""
    length: int  # tokens, separated by white space
    possible: tuple[int, ...]  # n-grams of the orders 1 to 4, at least 1
    possible_weighted: tuple[float, ...]  # the same with 1-grams weighted
    ngrams: tuple[frozenset[str], ...]  # of the orders 1 to 4
    keywords: frozenset[str]  # the 1-grams that are keywords
    structure: Structure


class CodeBLEU(NamedTuple):
    """CodeBLEU and its parts, means over references, in [0, 1]; then how many references had a part out of order."""
    codebleu: float
    ngram: float
    weighted_ngram: float
    syntax: float
    dataflow: float
    n_references: int = 1
    without_flow: int = 0  # references without data flow: that part is 0 and counts as 1
    unmatched_flow: int = 0  # references with data flow of which nothing is matched: the same


def mean_codebleu(pairs: Sequence[CodeBLEU]) -> CodeBLEU:
    """The mean over references of one prediction's scores; raises ValueError if there are none."""
    if not pairs:
        raise ValueError("CodeBLEU needs at least one reference for each prediction")
    columns = list(zip(*pairs, strict=True))
    return CodeBLEU(*(math.fsum(column) / len(pairs) for column in columns[:5]), *map(sum, columns[5:]))


def codebleu_parts(prediction: str, reference: str, weights: Sequence[float] = WEIGHTS) -> CodeBLEU:
    """CodeBLEU of a prediction against one reference, with its parts."""
    ours, theirs = read(prediction), read(reference)
    matched = [len(a & b) for a, b in zip(ours.ngrams, theirs.ngrams, strict=True)]
    ngram = _bleu(matched, ours.possible, ours.length, theirs.length)
    matched[0] = PLAIN_WEIGHT * matched[0] + (1 - PLAIN_WEIGHT) * len(ours.keywords & theirs.keywords)
    weighted_ngram = _bleu(matched, theirs.possible_weighted, ours.length, WEIGHTED_LENGTH)
    tree, other = theirs.structure, ours.structure
    common = tree.subtrees & other.subtrees
    again = sum(tree.repeated[subtree] for subtree in tree.repeated.keys() & common)
    syntax = (len(common) + again) / tree.n_subtrees
    dataflow = len(tree.flows & other.flows) / len(tree.flows) if tree.flows else 0.0
    a, b, c, d = weights
    total = a * ngram + b * weighted_ngram + c * syntax + d * (dataflow or 1.0)
    without = not tree.flows
    return CodeBLEU(total, ngram, weighted_ngram, syntax, dataflow, 1, int(without), int(not (without or dataflow)))


def _bleu(matched: Sequence[float], possible: Sequence[float], length: int, reference_length: int) -> float:
    """The geometric mean of matched ÷ possible over the orders, less for a prediction shorter than its reference."""
    if not matched[0]:
        return 0.0
    brevity_penalty = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    product = 1.0
    for found, of in zip(matched, possible, strict=True):
        product *= (found or SMOOTHING) / of
    return brevity_penalty * product ** (1 / ORDERS)


@lru_cache(maxsize=PROGRAMS_KEPT)
def read(code: str) -> Program:
    """Tokenise, parse and count a program, once; raises UnicodeEncodeError for a lone surrogate, like the package."""
    code = code.strip()
    tokens = code.split()
    try:
        bare = remove_comments_and_docstrings(code, "python")
    except Exception:  # the package's own rule for a text that the tokenizer refuses, whatever it raises
        bare = code
    keywords = _numbered(token for token in tokens if token in KEYWORDS)
    possible = tuple(max(1, len(tokens) - n) for n in range(ORDERS))
    weight = PLAIN_WEIGHT * len(tokens) + (1 - PLAIN_WEIGHT) * len(keywords)
    ngrams = tuple(  # every n tokens in a row, joined by spaces (a token has none)
        _numbered(map(" ".join, zip(*(tokens[i:] for i in range(n)), strict=False))) for n in range(1, ORDERS + 1))
    return Program(len(tokens), possible, (max(1.0, weight), *possible[1:]), ngrams, keywords, _structure(bare))


@lru_cache(maxsize=PROGRAMS_KEPT)
def _structure(bare: str) -> Structure:
    """Parse a program without comments; many programs differ in nothing else."""
    subtrees, edges = subtrees_and_flows(bare)
    repeated = {tree: n - 1 for tree, n in Counter(subtrees).items() if n > 1}
    flows = _numbered(f"{name} {relation} {parents}" for name, relation, parents in edges)
    return Structure(frozenset(subtrees), len(subtrees), repeated, flows)


def _numbered(items: Iterable[str]) -> frozenset[str]:
    """A multiset as a set: the k-th of equal items, k > 1, is the item with k behind a newline (never in a token)."""
    counts = Counter(items)
    repeated = [f"{item}\n{k}" for item, n in counts.items() if n > 1 for k in range(2, n + 1)]
    return frozenset(counts).union(repeated) if repeated else frozenset(counts)
