"""What papermill knows of our notebooks: every parameter of the vocabulary may be injected into one that lists files.

papermill warns of a parameter that it does not see in a notebook's parameters cell; ours shows few and takes all. It
loads this module through its entry points, and reads other notebooks as ever."""

import re
from typing import Any

from papermill.engines import NBClientEngine
from papermill.models import Parameter
from papermill.translators import PythonTranslator, papermill_translators

from ledexlib.params.layers import FIELDS


class VocabularyTranslator(PythonTranslator):
    """papermill's translator of Python, for which a cell with a list ``params`` declares the whole vocabulary."""

    @classmethod
    def inspect(cls, parameters_cell: Any) -> list[Parameter]:
        """The parameters that a cell declares, and those that it takes from its files."""
        if not re.search(r"^params: list\[str\] = ", parameters_cell["source"], re.MULTILINE):
            return super().inspect(parameters_cell)
        files = Parameter("params", "list[str]", "[]", "parameter files; a later one wins")
        fields = FIELDS.items()
        return [files, *(Parameter(n, str(f.annotation), repr(f.default), f.description) for n, f in fields)]


class Engine(NBClientEngine):
    """papermill's own engine: a plug-in has to name one."""


papermill_translators.register("python", VocabularyTranslator)
