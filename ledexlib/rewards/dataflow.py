"""A program's syntax tree as CodeBLEU needs it: its subtrees, and how values flow between its variables.

The rules of data flow are those of the package codebleu 0.7.0 for Python. Its ``DFG_python`` copies all states at every
node and walks a loop's body twice, 2^k times for k loops in each other. Here states are copied where branches part,
and a loop is walked once for each state that it is met in. A tree with errors is left to the package, and so is a text
that is not ASCII, in which the package takes columns in bytes for columns in characters."""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from codebleu.dataflow_match import normalize_dataflow
from codebleu.utils import get_tree_sitter_language
from tree_sitter import Node, Parser

from ledexlib.rewards.set_order import follower, get_data_flow, ordered_set

Places = dict[str, list[int]]  # where the current values of each name come from: numbers of tokens
Edge = tuple[str, int, str, list[str], list[int]]  # name, token, relation, names and tokens it comes from

PARSER = Parser(get_tree_sitter_language("python"))
SIDES = {  # the fields of syntax nodes that the rules ask for: what is bound, and to what
    **dict.fromkeys(("assignment", "augmented_assignment", "for_in_clause", "for_statement"), ("left", "right")),
    "default_parameter": ("name", "value")}


def subtrees_and_flows(code: str) -> tuple[list[str], list[tuple[str, str, list[str]]]]:
    """The s-expressions of the root and of all nodes with children, and the data-flow edges with normalised names."""
    native = PARSER.parse(code.encode()).root_node
    try:
        tree = Tree(native, code)
    except (ValueError, RecursionError):
        return _all_subtrees(native), normalize_dataflow(get_data_flow(code, [PARSER, follower(code)]))
    edges = get_data_flow("", [PARSER, tree.edges])  # sorts, filters and merges them
    return _subtrees(str(native), tree.has_children), normalize_dataflow(edges)


def _all_subtrees(native: Node) -> list[str]:
    """For any tree: each node is asked for itself."""
    found, stack = [], [native]
    while stack:
        node = stack.pop()
        found.append(str(node))
        stack += [child for child in node.children if child.child_count]
    return found


def _subtrees(whole: str, has_children: Sequence[bool]) -> list[str]:
    """The same, faster: parts of the s-expression of a tree without errors, where a bracket opens each named node."""
    flags, opened, found = iter(has_children), [], []
    for bracket in re.finditer(r"[()]", whole):
        if bracket.group() == "(":
            opened.append((next(flags), bracket.start()))
        else:
            is_subtree, start = opened.pop()
            if is_subtree:
                found.append(whole[start : bracket.end()])
    return found


class _Node:
    """A syntax node. ``first`` and ``last`` bound the numbers of its tokens."""
    __slots__ = ("children", "first", "is_token", "kind", "last", "sides")


class Tree:
    """A syntax tree whose tokens (leaves, whole strings) are numbered; ValueError for what is left to the package."""

    def __init__(self, native: Node, code: str) -> None:
        if native.has_error or not code.isascii():
            raise ValueError("a tree with errors, or a text that is not ASCII")
        self.code = code
        self.names: list[str | None] = []  # of every token its text, None for keywords and signs
        self.has_children: list[bool] = []  # of every named node, in the order of the text
        self._loops: dict[Any, tuple[list[Edge], Places]] = {}
        self.root = self._copy(native)
        self.has_children[0] = True  # the root of an empty program counts as a subtree

    def _copy(self, native: Node, in_string: bool = False) -> _Node:
        node, kind, children = _Node(), native.type, native.children
        node.kind, node.first = kind, len(self.names)
        if native.is_named:
            self.has_children.append(bool(children))
        node.is_token = kind == "string" or (not children and kind != "comment")
        if node.is_token and not in_string:
            text = self.code[native.start_byte : native.end_byte]
            if not text:
                raise ValueError("a token without width, for which the package may take another one at its place")
            text = text.replace("\n", "")
            self.names.append(None if text == kind else text)
        inside = in_string or node.is_token
        node.children = [self._copy(child, inside) for child in children] if children else children
        node.last = len(self.names)
        if kind in SIDES:
            sides = map(native.child_by_field_name, SIDES[kind])
            node.sides = [side and node.children[children.index(side)] for side in sides]
        return node

    def edges(self, *_: Any) -> tuple[list[Edge], Places]:
        """The edges in the order in which the package finds them; raises what makes it find none, as its own does."""
        found, states = [], {}
        self._follow(self.root, states, found)
        return found, states

    def _follow(self, node: _Node, states: Places, found: list[Edge]) -> None:
        """Append a node's edges to ``found`` and bring ``states`` up to date."""
        if node.is_token:
            token = node.first
            name = self.names[token]
            if name in states:
                found.append((name, token, "comesFrom", [name], states[name]))
            elif name is not None:
                if node.kind == "identifier":
                    states[name] = [token]
                found.append((name, token, "comesFrom", [], []))
        elif node.kind in RULES:
            RULES[node.kind](self, node, states, found)
        else:
            for child in node.children:  # a comprehension binds its variables before they are used
                if child.kind == "for_in_clause":
                    self._follow(child, states, found)
            for child in node.children:
                if child.kind != "for_in_clause":
                    self._follow(child, states, found)

    def _variables(self, node: _Node) -> list[int]:
        """The tokens of a node that are no keywords or signs."""
        return [token for token in range(node.first, node.last) if self.names[token] is not None]

    def _parameter(self, node: _Node, states: Places, found: list[Edge]) -> None:
        """A parameter with a default value: its name comes from every part of the value."""
        name, value = node.sides
        self._follow(value, states, found)
        for target in self._variables(name):
            text = self.names[target]
            found += [(text, target, "comesFrom", [self.names[i]], [i]) for i in self._variables(value)]
            states[text] = [target]

    def _assignment(self, node: _Node, states: Places, found: list[Edge]) -> None:
        left, right = node.sides
        if node.kind == "for_in_clause":
            self._bind([left], node.children[-1:], states, found)
        elif right is not None:  # otherwise an annotation alone
            self._bind(*_parts(left, right), states, found)

    def _bind(self, left: list[_Node], right: list[_Node], states: Places, found: list[Edge]) -> None:
        """Every variable of a part on the left is computed from all variables of its part on the right."""
        for node in right:
            self._follow(node, states, found)
        for one, other in zip(left, right, strict=True):
            sources = self._variables(other)
            names = [self.names[source] for source in sources]
            for target in self._variables(one):
                found.append((self.names[target], target, "computedFrom", names, sources))
                states[self.names[target]] = [target]

    def _if(self, node: _Node, states: Places, found: list[Edge]) -> None:
        """Afterwards a value may come from any branch, or from before if there is no else."""
        current, ends = states.copy(), []
        for child in node.children:
            if child.kind in ("elif_clause", "else_clause"):
                ends.append(states.copy())
                self._follow(child, ends[-1], found)
            else:
                self._follow(child, current, found)
        ends.append(current)
        if not any("else" in child.kind for child in node.children):
            ends.append(states)
        for name in dict.fromkeys(name for end in ends for name in end):
            states[name] = sorted({place for end in ends for place in end.get(name, ())})

    def _loop(self, node: _Node, states: Places, found: list[Edge]) -> None:
        """Twice the loop, so that its end reaches its beginning; edges of the same token and relation become one."""
        key = node, tuple((name, tuple(places)) for name, places in states.items())
        if key not in self._loops:
            is_while, after, edges = node.kind == "while_statement", states.copy(), []
            body = node.children if is_while else [c for c in node.children[-1:] if c.kind == "block"]  # or is an else
            for _ in range(2):
                if not is_while:
                    self._bind(*_parts(*node.sides), after, edges)
                for child in body:
                    self._follow(child, after, edges)
            self._loops[key] = _merged(edges), after
        edges, after = self._loops[key]
        found += edges
        states.update(after)


def _parts(left: _Node, right: _Node) -> tuple[list[_Node], list[_Node]]:
    """What is bound to what: part by part if both sides have as many, otherwise the whole to the whole.
    Raises LookupError for the parts of a string, as the package does."""
    ones, others = ([child for child in side.children if child.kind != ","] for side in (left, right))
    if not ones or len(ones) != len(others):
        return [left], [right]
    if left.is_token or right.is_token:
        raise LookupError("the parts of a string are no tokens")
    return ones, others


def _merged(edges: list[Edge]) -> list[Edge]:
    """One edge for each name, token and relation, sorted by token; names in the package's order of union."""
    sources: dict[tuple[str, int, str], tuple[list[str], list[int]]] = {}
    for name, token, relation, names, places in sorted(edges, key=itemgetter(1)):
        key = name, token, relation
        if key in sources:
            before = sources[key]
            names, places = list(ordered_set(before[0] + names)), sorted({*before[1], *places})
        sources[key] = names, places
    return [(*key, *found) for key, found in sources.items()]


RULES: dict[str, Callable[[Tree, _Node, Places, list[Edge]], None]] = {
    "default_parameter": Tree._parameter, "assignment": Tree._assignment, "augmented_assignment": Tree._assignment,
    "for_in_clause": Tree._assignment, "if_statement": Tree._if, "for_statement": Tree._loop,
    "while_statement": Tree._loop}
