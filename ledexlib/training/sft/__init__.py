"""Supervised fine-tuning (paper section 2), with torch: the examples, their training, its log."""

from ledexlib.training.sft.data import SFTExample, SFTExamples, build_examples, example_lengths, example_table
from ledexlib.training.sft.trainer import read_sft_log, sft_process, train_sft
