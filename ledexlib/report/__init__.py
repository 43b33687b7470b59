"""Results for people: pages of runs, the table of runs, and for notebooks `views` (texts, tables) and `plots`."""

from ledexlib.report.pages import write_run_page
from ledexlib.report.states import status_text
