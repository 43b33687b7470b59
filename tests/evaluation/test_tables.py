"""The paper's numbers are the paper's, and ours stand in its layout."""

import pandas as pd
import pytest

from ledexlib.evaluation import tables
from ledexlib.evaluation.metrics import SCORE_NAMES


def paper_gain(model, before, after, score, benchmark, k):
    table = tables.paper_overall().set_index(["model", "stage", "score", "benchmark", "k"])["value"]
    return table[model, after, score, benchmark, k] - table[model, before, score, benchmark, k]


def test_the_papers_table_2_is_whole_and_ordered_as_it_should_be():
    table = tables.paper_table_2()
    assert len(table) == 3 * 3 * 3 * 4 * 2 and not table.duplicated(["model", "stage", "score", "benchmark", "k"]).any()
    wide = table.pivot(index=["model", "stage", "score", "benchmark"], columns="k", values="value")
    assert (wide[10] > wide[1]).all()
    assert len(tables.paper_table_4()) == 18


def test_the_papers_headline_figures_follow_from_its_table_2():
    """+15.92 and +9.30 for SFT over prompting, +3.54 for RL over SFT."""
    plain, plus = tables.PAPER_PAIRS
    gains = [
        paper_gain("StarCoder-15B", "prompt", "SFT", "explain", plain, 1),
        paper_gain("StarCoder-15B", "prompt", "SFT", "explain", plus, 10),
        paper_gain("CodeLlama-13B", "SFT", "RL", "refine", plus, 1),
    ]
    assert gains == pytest.approx([15.92, 9.30, 3.54], abs=0.01)


def our_scores() -> pd.DataFrame:
    rows = [
        {"model": model, "benchmark": name, "score": score, "k": k, "value": value, "low": value - 1, "high": value + 1}
        for model, shift in (("base", 0.0), ("04_sft", 10.0))
        for name in ("mini-mbpp", "mini-humaneval", "overall")
        for score, value in (("initial", 40.0 + shift), ("refine", 55.0 + shift), ("explain", 52.0 + shift))
        for k in (1, 10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_ours_stand_in_the_papers_layout():
    ours, papers = tables.table_2(our_scores(), "run")
    assert list(ours.columns) == ["model", "stage", "score", "mini-mbpp", "mini-humaneval"]
    assert list(ours["stage"]) == ["prompt"] * 3 + ["SFT"] * 3 and list(ours["score"]) == list(SCORE_NAMES.values()) * 2
    assert ours["mini-mbpp"][0] == "40.0 [39.0, 41.0]\n40.0 [39.0, 41.0]"
    assert list(papers.columns[3:]) == list(tables.PAPER_PROBLEMS) and papers["MBPP"][0] == "37.70 / 69.60"


def test_table_4_both_ways():
    rates = pd.DataFrame([
        {"model": model, "benchmark": benchmark, "way": "refine", "rate": "success refinement rate", "value": value}
        for model in ("base", "04_sft")
        for benchmark, value in (("mini-mbpp", 20.0), ("mini-humaneval", 30.0), ("overall", 99.0))
    ])  # fmt: skip
    table = tables.table_4(rates, our_scores(), "run")
    assert table.iloc[0].to_dict() == {
        "model": "run", "way": "refine", "stage": "prompt", "counted": 25.0, "from Table 2": pytest.approx(25.0),
    }  # fmt: skip
    paper = table[(table["model"] == "paper: StarCoder-15B") & (table["way"] == "refine")].set_index("stage")
    assert paper["counted"]["SFT"] == 16.27
    assert paper["from Table 2"]["prompt"] == pytest.approx(6.20, abs=0.01)
