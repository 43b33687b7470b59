"""What an operation of the mini world is: a step that a problem asks for, how it is said, coded and got wrong.

Code is a template: ``{x}`` is the incoming value, ``{y}`` the name that a statement style assigns, ``{v}`` the loop
variable, ``{k}`` the problem's constant with ``{k_less}`` and ``{k_more}`` one beside it. A style that assigns ``{y}``
is a block of statements, any other style is an expression.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# The styles in which a step can be coded; an operation without one of them is coded as its comprehension.
STYLES = ("comprehension", "loop", "functional")

TYPES = {
    "ints": "a list of integers",
    "int": "an integer",
    "str": "a string",
    "strs": "a list of words",
    "dict": "a dictionary that maps words to integers",
    "grid": "a list of lists of integers",
}


@dataclass(frozen=True)
class Slip:
    """A natural mistake inside one step: ``find`` in the step's code is written as ``replace``."""

    kind: str
    find: str
    replace: str


@dataclass(frozen=True)
class Operation:
    """One step: types, wordings (imperative, the object included), code in one or more styles, and its slips."""

    name: str
    takes: str
    gives: str
    phrases: tuple[str, ...]
    styles: dict[str, str] = field(hash=False)
    slips: tuple[Slip, ...] = ()
    constants: tuple[int, ...] = ()
    imports: str = ""
    first_only: bool = False  # its result is as long as its argument is large: only inputs are known to be small

    def code(self, style: str) -> str:
        return self.styles.get(style, self.styles["comprehension"])


def slips(*rows: str) -> tuple[Slip, ...]:
    """Slips from rows such as ``wrong_comparison: > {k} -> >= {k}``."""
    made = []
    for row in rows:
        kind, change = row.split(": ", 1)
        find, replace = change.split(" -> ")
        made.append(Slip(kind, find, replace))
    return tuple(made)


def keep(name: str, condition: str, phrases: tuple[str, ...], *wrong: str, on: str = "ints", constants=()) -> Operation:
    """An operation that keeps the elements of a list for which a condition on ``{v}`` holds."""
    styles = {
        "comprehension": f"[{{v}} for {{v}} in {{x}} if {condition}]",
        "loop": f"{{y}} = []\nfor {{v}} in {{x}}:\n    if {condition}:\n        {{y}}.append({{v}})",
        "functional": f"list(filter(lambda {{v}}: {condition}, {{x}}))",
    }
    return Operation(name, on, on, phrases, styles, slips(*wrong), tuple(constants))


def each(
    name: str, expression: str, phrases: tuple[str, ...], *wrong: str, on: str = "ints", gives: str = "", constants=()
) -> Operation:
    """An operation that replaces every element ``{v}`` of a list by an expression."""
    styles = {
        "comprehension": f"[{expression} for {{v}} in {{x}}]",
        "loop": f"{{y}} = []\nfor {{v}} in {{x}}:\n    {{y}}.append({expression})",
        "functional": f"list(map(lambda {{v}}: {expression}, {{x}}))",
    }
    return Operation(name, on, gives or on, phrases, styles, slips(*wrong), tuple(constants))


def whole(
    name: str, takes: str, gives: str, expression: str, phrases: tuple[str, ...], *wrong: str,
    loop: str = "", functional: str = "", constants=(), imports: str = "", first_only: bool = False,
) -> Operation:  # fmt: skip
    """An operation on a whole value, by an expression on ``{x}`` and perhaps a loop or another expression."""
    styles = {"comprehension": expression}
    if loop:
        styles["loop"] = loop
    if functional:
        styles["functional"] = functional
    return Operation(name, takes, gives, phrases, styles, slips(*wrong), tuple(constants), imports, first_only)
