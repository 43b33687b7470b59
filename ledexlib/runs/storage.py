"""Files that survive a kill: records appended line by line, files replaced whole, locks that die with their holder."""

import fcntl
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

from pydantic import BaseModel, ValidationError

from ledexlib.params import Refused

R = TypeVar("R", bound=BaseModel)


class ArtifactError(Refused, RuntimeError):
    """A file of a run that cannot be used; the message names the file and its line."""


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: numpy scalars become numbers, a number that is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replace(path: Path, lines: Iterable[str], sync: bool = True) -> None:
    """Replace a file atomically: a reader sees the old one or the new one, never a part.
    ``sync`` waits until it is on the disk, so that it also survives a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: Any, sync: bool = True) -> None:
    """Replace ``path`` by ``value`` as JSON, atomically."""
    _replace(path, [json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False), "\n"], sync)


def write_records(path: Path, records: Iterable[BaseModel]) -> None:
    """Replace ``path`` by these records as JSON lines, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, (f"{record.model_dump_json()}\n" for record in records))


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``, None if there is no such file; raises ArtifactError if it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ArtifactError(f"{path}: not valid JSON ({error})") from None


def lock(path: Path, wait: float = 0.0) -> TextIO | None:
    """An exclusive lock on ``path``, tried for ``wait`` seconds; None if another process holds it.
    The kernel releases it when the file is closed or its process dies, however; the file holds the process id."""
    file, deadline = path.open("a+", encoding="utf-8"), time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                return None
            time.sleep(0.1)
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


class JsonLines(Generic[R]):
    """Records in a file, one JSON object a line, only ever appended, keyed by their ``key`` attribute (dots allowed).
    A last line without its newline was half written when its process was killed: it is not a record, and the first
    append cuts it off. With ``complete``, for a file that somebody finished, it is an error instead. A line that is
    broken anywhere else, or an id that comes twice, raises ArtifactError with file and line."""

    def __init__(self, path: Path | str, model: type[R], key: str = "id", complete: bool = False) -> None:
        self.path, self.model, self._id_of = Path(path), model, attrgetter(key)
        self._lines: dict[Any, int] = {}  # id: line number
        self._end = 0  # bytes of whole lines
        self._size = self.path.stat().st_size if self.path.exists() else 0  # bytes in the file as we left it
        if complete and not self.path.exists():
            raise ArtifactError(f"{self.path}: no such file")
        for number, line, record in self._scan():
            name = self._id_of(record)
            if name in self._lines:
                raise ArtifactError(f"{self.path}:{number}: the record of line {self._lines[name]} again ({name!r})")
            self._lines[name] = number
            self._end += len(line)
        if complete and self._size > self._end:
            fault = "the last line is cut off; the file is not complete, make it again"
            raise ArtifactError(f"{self.path}:{len(self) + 1}: {fault}")

    def _scan(self) -> Iterator[tuple[int, bytes, R]]:
        """Line number, bytes and record of every whole line."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield number, line, self.model.model_validate_json(line)
                except ValidationError as error:
                    fault = error.errors()[0]
                    what = f"{'.'.join(map(str, fault['loc'])) or 'line'}: {fault['msg']}"
                    raise ArtifactError(f"{self.path}:{number}: not a {self.model.__name__} ({what})") from None

    def append(self, records: Iterable[R]) -> int:
        """Append the records whose id is new, flush them to disk, and return how many were new.
        Whatever is appended, and be it nothing, a half-written last line is cut off."""
        new: dict[Any, bytes] = {}
        for record in records:
            name = self._id_of(record)
            if name not in self._lines and name not in new:
                new[name] = record.model_dump_json().encode() + b"\n"
        if not new and self._size == self._end:
            return 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if os.fstat(file.fileno()).st_size != self._size:
                raise ArtifactError(f"{self.path}: another process changed this file while it was being appended to")
            file.truncate(self._end)
            self._size = self._end  # should the write fail half way, what it left is seen as a foreign change
            file.write(b"".join(new.values()))
            file.flush()
            os.fsync(file.fileno())
        self._end = self._size = self._end + sum(map(len, new.values()))
        for name in new:
            self._lines[name] = len(self._lines) + 1
        return len(new)

    def __iter__(self) -> Iterator[R]:
        """The records in the order of the file, read as they are needed."""
        return (record for _, _, record in islice(self._scan(), len(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def __len__(self) -> int:
        return len(self._lines)

    def read(self) -> list[R]:
        """All records."""
        return list(self)
