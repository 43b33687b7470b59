"""What a proxy may ask of an object in the program's process, by name, and how exceptions answer.

Standard library only: the worker loads this file.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator

from plain import encode
from recorder import describe
from show import show


def told(error: BaseException) -> tuple:
    """An exception as the worker takes it: description, names of its builtin classes, arguments."""
    bases = [base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"]
    arguments = error.args if encode(error.args) is not None else ()
    return (*describe(error)[:4], bases, arguments)


def take(iterator: Iterator, count: int) -> tuple[list, bool, tuple | None]:
    """Up to so many items, whether they were the last, and the exception that came in place of the next."""
    items: list[object] = []
    try:
        while len(items) < count:
            items.append(next(iterator))
    except StopIteration:
        return items, True, None
    except BaseException as error:
        return items, True, told(error)
    return items, False, None


OPERATIONS = {
    "call": lambda function, *arguments, **options: function(*arguments, **options),
    "getattr": getattr,
    "setattr": setattr,
    "bool": bool,
    "len": len,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "iter": iter,
    "take": take,
    "str": str,
    "show": show,
}
