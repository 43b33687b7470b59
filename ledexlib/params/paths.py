"""Where things are: the repository, its notebooks, and the paths that parameters name."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"


def resolve(path: Path | str) -> Path:
    """A path from the parameters; a relative one starts at the repository."""
    return ROOT / Path(path).expanduser()


def shown(path: Path) -> str:
    """A path for people: from the repository where it lies inside."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
