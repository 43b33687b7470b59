"""Parameters: one typed vocabulary in groups, YAML files layered over it, checked before any work."""

from ledexlib.params.layers import FIELDS, Layered, ParameterError, Refused, add_arguments, from_arguments, load
from ledexlib.params.layers import read_yaml, stated, validate
from ledexlib.params.notebook import FILES, from_notebook, literals
from ledexlib.params.paths import NOTEBOOKS, ROOT, resolve, shown
from ledexlib.params.vocabulary import GROUPS, TITLES, Params
