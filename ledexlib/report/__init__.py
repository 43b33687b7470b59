"""Results for people: pages of runs, the table of runs, and for notebooks `views` (texts, tables) and `plots`."""

from ledexlib.report.pages import write_run_page, write_runs_page
from ledexlib.report.states import StageState, stage_states, status_text

__all__ = ["StageState", "stage_states", "status_text", "write_run_page", "write_runs_page"]
