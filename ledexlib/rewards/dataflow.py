"""A program's syntax tree as CodeBLEU needs it: its subtrees, and how values flow between its variables.

The rules of data flow are those of the package codebleu 0.7.0 for Python. Its ``DFG_python`` copies all states at every
node and walks a loop's body twice, 2^k times for k loops in each other. Here states are copied where branches part,
and a loop is walked once for each state that it is met in. A tree with errors is left to the package, and so is a text
that is not ASCII, in which the package takes columns in bytes for columns in characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from codebleu.dataflow_match import normalize_dataflow
from codebleu.utils import get_tree_sitter_language
from tree_sitter import Node, Parser

from ledexlib.rewards.set_order import follower, get_data_flow, ordered_set

Places = dict[str, list[int]]  # where the current values of each name come from: numbers of tokens
Edge = tuple[str, int, str, list[str], list[int]]  # name, token, relation, names and tokens it comes from

# The fields of syntax nodes that the rules ask for.
FIELDS = {
    "default_parameter": ("name", "value"), "assignment": ("left", "right"),
    "augmented_assignment": ("left", "right"), "for_in_clause": ("left",), "for_statement": ("left", "right"),
}  # fmt: skip


class _GivenUp(Exception):
    """What makes the package find no data flow at all: a rule that looks into a string."""


class _Unclear(Exception):
    """A token without width: the package may take it for another one at its place."""


@lru_cache(maxsize=1)
def parser() -> Parser:
    """The parser of Python."""
    made = Parser()
    made.language = get_tree_sitter_language("python")
    return made


def subtrees_and_flows(code: str) -> tuple[list[str], list[tuple[str, str, list[str]]]]:
    """The s-expressions of the root and of all nodes with children, and the data-flow edges with normalised names."""
    native = parser().parse(code.encode()).root_node
    try:
        if native.has_error or not code.isascii():
            raise _Unclear
        tree = Tree(native, code)
    except (_Unclear, RecursionError):
        return _all_subtrees(native), normalize_dataflow(get_data_flow(code, [parser(), follower(code)]))
    edges = get_data_flow("", [_Parsed(), lambda *_: (tree.edges(), {})])
    return _parts(str(native), tree.named), normalize_dataflow(edges)


def _all_subtrees(native: Node) -> list[str]:
    """For any tree: each node is asked for itself."""
    found, stack = [], [native]
    while stack:
        node = stack.pop()
        found.append(str(node))
        stack += [child for child in node.children if child.child_count]
    return found


def _parts(whole: str, named: Sequence[bool]) -> list[str]:
    """The same within the s-expression of a tree without errors, where every bracket opens a named node."""
    opened: list[tuple[int, int]] = []
    found = []
    number = 0
    for bracket in re.finditer(r"[()]", whole):
        if bracket.group() == "(":
            opened.append((number, bracket.start()))
            number += 1
        else:
            node, start = opened.pop()
            if named[node]:
                found.append(whole[start : bracket.end()])
    return found


class _Parsed:
    """Parser and tree for ``get_data_flow`` when the edges are there already: it sorts, filters and merges them."""

    type, children, start_point, end_point = "module", (), (0, 0), (0, 0)

    @property
    def root_node(self) -> _Parsed:
        return self

    def parse(self, _: bytes) -> _Parsed:
        return self


class _Inner:
    """A syntax node with children. ``first`` and ``last`` bound its tokens."""

    __slots__ = ("children", "fields", "first", "kind", "last")


class Tree:
    """A syntax tree without errors. A token (a leaf, or a whole string) is its number, any other node an ``_Inner``."""

    def __init__(self, native: Node, code: str) -> None:
        self.code = code
        self.names: list[str | None] = []  # of every token its text, None for keywords and signs
        self.kinds: list[str] = []
        self.string_parts: dict[int, int] = {}  # of tokens that are strings: how many children they have
        self.named: list[bool] = []  # for every named node, in the order of the text, whether it has children
        self._loops: dict[Any, tuple[list[Edge], Places]] = {}
        self.root = self._copy(native)
        self.named[0] = True  # the root of an empty program counts as a subtree

    def _copy(self, native: Node) -> _Inner | int:
        kind, children = native.type, native.children
        if native.is_named:
            self.named.append(bool(children))
        if kind != "comment" and (not children or kind == "string"):
            return self._token(native, kind, children)
        node = _Inner()
        node.kind, node.first = kind, len(self.names)
        node.children = [self._copy(child) for child in children]
        node.last = len(self.names)
        if kind in FIELDS:
            found = {name: native.child_by_field_name(name) for name in FIELDS[kind]}
            node.fields = {name: found[name] and node.children[children.index(found[name])] for name in found}
        return node

    def _token(self, native: Node, kind: str, children: Sequence[Node]) -> int:
        if native.start_byte == native.end_byte:
            raise _Unclear
        text = self.code[native.start_byte : native.end_byte].replace("\n", "")
        number = len(self.names)
        self.names.append(None if text == kind else text)
        self.kinds.append(kind)
        if children:
            self.string_parts[number] = sum(child.type != "," for child in children)
            inside = list(children[::-1])
            while inside:
                part = inside.pop()
                if part.is_named:
                    self.named.append(bool(part.child_count))
                inside += part.children[::-1]
        return number

    def edges(self) -> list[Edge]:
        """The edges in the order in which the package finds them; none if the package gives up."""
        found: list[Edge] = []
        try:
            self._follow(self.root, {}, found)
        except (_GivenUp, RecursionError):
            return []
        return found

    def _follow(self, node: _Inner | int, states: Places, found: list[Edge]) -> None:
        """Append a node's edges to ``found`` and bring ``states`` up to date."""
        if type(node) is int:
            self._use(node, states, found)
            return
        rule = RULES.get(node.kind)
        if rule is not None:
            rule(self, node, states, found)
            return
        for child in node.children:  # a comprehension binds its variables before they are used
            if type(child) is not int and child.kind == "for_in_clause":
                self._follow(child, states, found)
        for child in node.children:
            if type(child) is int:
                self._use(child, states, found)
            elif child.kind != "for_in_clause":
                self._follow(child, states, found)

    def _use(self, token: int, states: Places, found: list[Edge]) -> None:
        name = self.names[token]
        if name is None:
            return
        if name in states:
            found.append((name, token, "comesFrom", [name], states[name]))
            return
        if self.kinds[token] == "identifier":
            states[name] = [token]
        found.append((name, token, "comesFrom", [], []))

    def _variables(self, node: _Inner | int) -> list[int]:
        """The tokens of a node that are no keywords or signs."""
        tokens = (node,) if type(node) is int else range(node.first, node.last)
        return [token for token in tokens if self.names[token] is not None]

    def _parameter(self, node: _Inner, states: Places, found: list[Edge]) -> None:
        """A parameter with a default value: its name comes from every part of the value."""
        name, value = node.fields["name"], node.fields["value"]
        sources = self._variables(value)
        self._follow(value, states, found)
        for target in self._variables(name):
            text = self.names[target]
            found += [(text, target, "comesFrom", [self.names[source]], [source]) for source in sources]
            states[text] = [target]

    def _assignment(self, node: _Inner, states: Places, found: list[Edge]) -> None:
        right = node.children[-1] if node.kind == "for_in_clause" else node.fields["right"]
        if right is None:  # an annotation alone
            return
        if node.kind == "for_in_clause":
            self._bind([node.fields["left"]], [right], states, found)
        else:
            self._bind(*self._sides(node), states, found)

    def _sides(self, node: _Inner) -> tuple[list, list]:
        """What is bound to what: part by part if both sides have as many, otherwise the whole to the whole."""
        left, right = node.fields["left"], node.fields["right"]
        parts = self._n_parts(left)
        if not parts or parts != self._n_parts(right):
            return [left], [right]
        if type(left) is int or type(right) is int:
            raise _GivenUp
        return [c for c in left.children if not self._comma(c)], [c for c in right.children if not self._comma(c)]

    def _n_parts(self, side: _Inner | int) -> int:
        if type(side) is int:
            return self.string_parts.get(side, 0)
        return sum(not self._comma(child) for child in side.children)

    def _comma(self, child: _Inner | int) -> bool:
        return type(child) is int and self.kinds[child] == ","

    def _bind(self, left: list, right: list, states: Places, found: list[Edge]) -> None:
        """Every variable of a part on the left is computed from all variables of its part on the right."""
        for node in right:
            self._follow(node, states, found)
        for one, other in zip(left, right, strict=True):
            sources = self._variables(other)
            names = [self.names[source] for source in sources]
            for target in self._variables(one):
                found.append((self.names[target], target, "computedFrom", names, sources))
                states[self.names[target]] = [target]

    def _if(self, node: _Inner, states: Places, found: list[Edge]) -> None:
        """Afterwards a value may come from any branch, or from before if there is no else."""
        current, ends, has_else = states.copy(), [], False
        for child in node.children:
            kind = self.kinds[child] if type(child) is int else child.kind
            has_else = has_else or "else" in kind
            if kind in ("elif_clause", "else_clause"):
                branch = states.copy()
                self._follow(child, branch, found)
                ends.append(branch)
            else:
                self._follow(child, current, found)
        ends.append(current)
        if not has_else:
            ends.append(states.copy())
        for name in dict.fromkeys(name for end in ends for name in end):
            states[name] = sorted({place for end in ends for place in end.get(name, ())})

    def _loop(self, node: _Inner, states: Places, found: list[Edge]) -> None:
        """Twice the loop, so that its end reaches its beginning; edges of the same token and relation become one."""
        key = node, tuple((name, tuple(places)) for name, places in states.items())
        if key not in self._loops:
            after, edges = states.copy(), []
            for _ in range(2):
                if node.kind == "while_statement":
                    for child in node.children:
                        self._follow(child, after, edges)
                    continue
                self._bind(*self._sides(node), after, edges)
                body = node.children[-1]  # with an else, that: the package's rule
                if (self.kinds[body] if type(body) is int else body.kind) == "block":
                    self._follow(body, after, edges)
            self._loops[key] = _merged(edges), after
        edges, after = self._loops[key]
        found += edges
        states.update(after)


def _merged(edges: list[Edge]) -> list[Edge]:
    """One edge for each name, token and relation, sorted by token; names in the package's order of union."""
    sources: dict[tuple[str, int, str], tuple[list[str], list[int]]] = {}
    for name, token, relation, names, places in sorted(edges, key=lambda edge: edge[1]):
        key = name, token, relation
        if key in sources:
            before = sources[key]
            sources[key] = list(ordered_set(before[0] + names)), sorted(set(before[1] + places))
        else:
            sources[key] = names, places
    return [(*key, *found) for key, found in sorted(sources.items(), key=lambda item: item[0][1])]


RULES: dict[str, Callable[[Tree, _Inner, Places, list[Edge]], None]] = {
    "default_parameter": Tree._parameter, "assignment": Tree._assignment, "augmented_assignment": Tree._assignment,
    "for_in_clause": Tree._assignment, "if_statement": Tree._if, "for_statement": Tree._loop,
    "while_statement": Tree._loop,
}  # fmt: skip
