"""Rewards of repairs (paper section 3): CodeBLEU, embeddings, R(r) and R(e), and what they say about a collection."""

from ledexlib.rewards.analysis import (
    HONEST_RULE, LEAVE_OUT_RULES, RewardRecord, auc_table, explanation_map_table, extreme_explanations,
    leave_out_table, length_correlations, reward_correlations, reward_records, reward_table, saturation_table,
    score_by_rules, wrong_with_refinements)
from ledexlib.rewards.codebleu import CodeBLEU, codebleu_parts, mean_codebleu
from ledexlib.rewards.embeddings import Encoder, EncoderError
from ledexlib.rewards.equations import (
    PAPER_ENDS, QUANTILES, code_reward, explanation_map_ends, explanation_reward, explanation_similarity,
    unit_test_share)
from ledexlib.rewards.scorer import Reference, Reward, Scorer
