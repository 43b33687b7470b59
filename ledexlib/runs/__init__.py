"""Runs: a run's folder, its stages with their records, keys and locks, and what they were made by and on."""

from ledexlib.runs.layout import (
    EARLIER, NOT_IN_KEY, STAGE_NAME, Needed, StageError, StageSpec, StageTableError, bring_back, damage,
    expected_keys, hold, holding, make_anew, needed, parameters_cell, position, read_stages, run_folder, stage_key,
    whole)
from ledexlib.runs.provenance import changed_code, in_words
from ledexlib.runs.stage import QUIET, NewProgress, Progress, Stage, differences, duration, open_stage, record_run
from ledexlib.runs.storage import ArtifactError, JsonLines, lock, read_json, write_json, write_records
