"""Training: checks of its settings and how it is launched. No torch here: see ``training.sft`` and ``training.rl``."""

from ledexlib.training.command import add_train_arguments, check_rl, check_sft, train_command
from ledexlib.training.launch import TrainingError
