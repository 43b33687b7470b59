"""Runs: a run's folder, its stages with their records, keys and locks, and what they were made by and on."""

from ledexlib.runs.code import changed_code, current_code, in_words
from ledexlib.runs.folders import (
    EARLIER, Needed, StageError, bring_back, damage, expected_keys, holding, make_anew, needed, run_folder,
    stage_key, whole,
)
from ledexlib.runs.progress import QUIET, NewProgress, Progress, duration
from ledexlib.runs.stage import Stage, differences, open_stage, record_run
from ledexlib.runs.storage import ArtifactError, JsonLines, lock, plain, read_json, write_json, write_records
from ledexlib.runs.table import (
    NOT_IN_KEY, STAGE_NAME, StageSpec, StageTableError, parameters_cell, position, read_stages,
)
