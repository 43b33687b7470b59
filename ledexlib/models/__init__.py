"""Models: the generator interface and what is behind it, prompts, and how answers are read. No torch here.

Models in this process, and checkpoints to train, are in ``ledexlib.models.local``."""

from ledexlib.models.answers import Answer, locate_answer, parse_answer, parse_solution
from ledexlib.models.interface import Completion, Generator, check_checkpoint, checkpoint_path
from ledexlib.models.loading import check_generator, load_generator
from ledexlib.models.program_text import defines_what_was_asked
from ledexlib.models.prompts import (
    CHAT_TEMPLATE, STUB_TASK, Message, Prompt, answer_text, few_shot_answer, few_shot_refinement, few_shot_repairs,
    few_shot_solution, read_teacher_messages, refine_messages, solve_messages, teacher_messages)
