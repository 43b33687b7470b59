"""Models: the generator interface and what is behind it, prompts, and how answers are read. No torch here.

Models in this process, and checkpoints to train, are in ``ledexlib.models.local``.
"""

from ledexlib.models.answers import Answer, locate_answer, parse_answer, parse_solution, unify_lines
from ledexlib.models.interface import Completion, Generator
from ledexlib.models.loading import check_generator, load_generator
from ledexlib.models.names import check_checkpoint, checkpoint_path
from ledexlib.models.program_text import defines_what_was_asked
from ledexlib.models.prompts import (
    CHAT_TEMPLATE,
    FEW_SHOT_REPAIRS,
    STUB_TASK,
    Message,
    Prompt,
    answer_text,
    few_shot_answer,
    few_shot_refinement,
    few_shot_solution,
    read_teacher_messages,
    refine_messages,
    solve_messages,
    teacher_messages,
)

__all__ = [
    "CHAT_TEMPLATE", "FEW_SHOT_REPAIRS", "STUB_TASK", "Answer", "Completion", "Generator", "Message", "Prompt",
    "answer_text", "check_checkpoint", "check_generator", "checkpoint_path", "defines_what_was_asked",
    "few_shot_answer", "few_shot_refinement", "few_shot_solution", "load_generator", "locate_answer", "parse_answer",
    "parse_solution", "read_teacher_messages", "refine_messages", "solve_messages", "teacher_messages", "unify_lines",
]  # fmt: skip
