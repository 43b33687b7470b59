"""Every figure is drawn from little data and from none; nothing lies over what it shows."""

import inspect
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ledexlib.report import plots
from ledexlib.report.plots.style import Chart, bins
from ledexlib.report.plots.tokens import colour

VERDICTS = ["correct", "wrong", "wrong", "correct"]
SCORES = pd.DataFrame({
    "verdict": VERDICTS, "S_cb": [0.9, 0.2, 0.3, 0.7], "S_ut": [1.0, 0.0, 0.5, 1.0], "S_ex": [0.9, 0.8, 0.7, 0.6],
    "R(r)": [4.5, -4.0, -1.0, 3.5], "R(e)": [2.0, 1.0, -6.0, np.nan], "lines": [3, 4, 9, 2], "words": [20, 30, 9, 12],
})  # fmt: skip
FAILURES = pd.DataFrame({"kind": ["wrong result", "NameError"], "task": ["a", "b"], "refined": [True, False]})
RATE = {"rate": 50.0, "low": 20.0, "high": 80.0, "wrong solutions": 1200}
RATES = pd.DataFrame([{"kind": kind, **RATE} for kind in ("wrong result", "NameError")])
AUC_COLUMNS = [f"{name}{within}" for name in ("AUC", "low", "high") for within in ("", " within")]
AUC = pd.DataFrame([{"score": "S_cb", **dict.fromkeys(AUC_COLUMNS, 0.6)}])
LENGTHS = pd.DataFrame({"of": ["solution", "refinement"] * 2, "verdict": VERDICTS, "length": [3, 4, 9, 2]})
EXAMPLES = pd.DataFrame({"kind": ["generation", "refine", "explain_refine"], "tokens": [90, 200, 210]})
SFT = pd.DataFrame({
    "series": ["train", "train", "refine"], "step": [10, 20, 20], "loss": [1.0, 0.5, 0.6],
    "learning_rate": [1e-3, 1e-4, np.nan], "tokens_per_second": [900.0, 950.0, np.nan],
})  # fmt: skip
PASS = pd.DataFrame([
    {"model": model, "benchmark": benchmark, "score": score, "k": 1, "value": 40.0, "low": 30.0, "high": 50.0}
    for model in ("base", "SFT") for benchmark in ("mbpp", "mbppplus", "overall") for score in ("initial", "explain")
])  # fmt: skip
BUDGETS = pd.DataFrame([
    {"model": model, "answers": n, "strategy": s, "value": 40.0, "low": 30.0, "high": 50.0}
    for model in ("base", "SFT") for s in ("programs only", "half repairs (explain)") for n in (2, 4)
])  # fmt: skip
FIXES = pd.DataFrame([{"model": model, **row} for model in ("base", "SFT") for row in RATES.to_dict("records")])
GAINS = pd.DataFrame([
    {"than": than, "rate": rate, "variant": variant, "value": 1.0, "low": -1.0, "high": 2.0}
    for than in ("sft", "own") for rate in ("pass@1", "refinement rate") for variant in ("own", "single")
])  # fmt: skip
TRACE = SimpleNamespace(
    task_id="t<1>", explain=True, tokens=("It ", "$<bad>$", ".\n\n", "x = 1" * 30), explanation_tokens=3,
    status="failed", rewards=(0, -0.5, 2, -4), kl=(0, 0, 0, 0), values=(0, 0, 0, 0), advantages=(1, 1, 2, -4),
    code_reward=-4, explanation_reward=2,
)  # fmt: skip


def ppo_log(n, **more):
    columns = (
        "rollout/reward", "rollout/code reward", "rollout/explanation reward", "rollout/repaired", "rollout/invalid",
        "rollout/kl", "rollout/tokens", "rollout/s_ex", "rollout/s_cb", "ratio", "entropy", "clip fraction",
    )  # fmt: skip
    seconds = ("generation", "waiting for rewards", "rollouts", "forward", "backward", "verification", "similarity")
    values = {**dict.fromkeys(columns, 0.5), **{f"seconds/{name}": 1.0 for name in seconds}}
    return pd.DataFrame([{"step": i, **values, "explained variance": np.nan, **more} for i in range(1, n + 1)])


DRAWN = {
    "ablation": (GAINS,), "aucs": (AUC,), "budgets": (BUDGETS,), "by_problem": (FAILURES,),
    "example_lengths": (EXAMPLES, 256), "explanation_maps": (SCORES, {"paper": (0.4, 1.0), "fitted": (0.5, 0.9)}),
    "failure_kinds": (FAILURES,), "fixes_by_kind": (FIXES,), "pass_rates": (pd.Series([0, 0.25, 1.0]),),
    "rates": (RATES, 46.1), "reinforcement": (ppo_log(12),), "reward_histograms": (SCORES,),
    "rewards_by_length": (SCORES,), "rounds": (pd.Series([4, 6], index=[0, 1]), 10), "scores": (PASS, 1),
    "text_lengths": (LENGTHS,), "token_credit": (TRACE, "batch 1"), "training": (SFT,), "two_rewards": (SCORES,),
    "update_seconds": (ppo_log(3),), "variants": ([ppo_log(3, variant="own"), ppo_log(3, variant="single")],),
}  # fmt: skip
EMPTY = {
    "ablation": (GAINS[:0],), "aucs": (AUC[:0],), "budgets": (BUDGETS[:0],), "example_lengths": (EXAMPLES[:0], 256),
    "failure_kinds": (FAILURES[:0],), "by_problem": (FAILURES[:0],), "fixes_by_kind": (FIXES[:0],),
    "pass_rates": (pd.Series([], dtype=float),), "rates": (RATES[:0], 0.0), "reward_histograms": (SCORES[:0],),
    "rewards_by_length": (SCORES[:0],), "scores": (PASS, 10), "text_lengths": (LENGTHS[:0],), "training": (SFT[:0],),
    "two_rewards": (SCORES[:0],), "variants": ([],), "reinforcement": (ppo_log(1),),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _style():
    plots.style()


def boxes(fig):
    """The boxes of a drawn figure's panels and legends, in pixels."""
    fig.savefig("/dev/null", format="png")
    legends = [*fig.legends, *(ax.get_legend() for ax in fig.axes if ax.get_legend())]
    return [ax.bbox for ax in fig.axes], [legend.get_window_extent() for legend in legends]


def test_every_figure_is_tested():
    drawing = {name for name, value in vars(plots).items() if inspect.isfunction(value)}
    assert set(DRAWN) == drawing - {"style"}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_says_what_it_shows_and_covers_nothing(name):
    fig = getattr(plots, name)(*DRAWN[name])
    assert isinstance(fig, Chart) and fig.get_figwidth() <= 7.5
    assert fig._repr_png_().startswith(b"\x89PNG")
    _, metadata = fig._repr_mimebundle_()
    assert len(metadata["image/png"]["alt"]) > 20 and "\n" not in metadata["image/png"]["alt"]
    panels, legends = boxes(fig)
    assert not [1 for panel in panels for legend in legends if panel.overlaps(legend)]
    assert all(panel.width > 60 and panel.height > 20 for panel in panels)


@pytest.mark.parametrize("name", EMPTY)
def test_no_data_is_no_error(name):
    assert getattr(plots, name)(*EMPTY[name])._repr_png_().startswith(b"\x89PNG")


def test_too_few_samples_for_budgets_are_named():
    assert "there are fewer" in plots.budgets(BUDGETS[:0]).alt


@pytest.mark.parametrize(
    ("values", "low", "high", "centres"),
    [
        ([0, 25, 100], 0, 100, [0, 25, 50, 75, 100]),
        ([0.0, 1.0], 0, 1, [0, 1]),
        ([1, 3, 4], 1, 4, [1, 2, 3, 4]),
        ([0.5], 0.5, 0.5, [0.5]),
    ],
)
def test_a_bar_stands_over_its_values(values, low, high, centres):
    edges = bins(np.array(values, float), low, high)
    assert (edges[1:] + edges[:-1]) / 2 == pytest.approx(centres)


def test_bins_are_not_too_many_and_whole_numbers_have_whole_bins():
    assert len(bins(np.linspace(0, 1, 500), 0, 1)) <= 27
    edges = bins(np.arange(100.0), 0, 99)
    assert np.all(np.diff(edges) == 5) and edges[0] == -2.5 and edges[-1] >= 99


def test_histograms_show_shares_of_each_verdict():
    ax = plots.reward_histograms(SCORES).axes[1]
    heights = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height() for bar in ax.patches if bar.get_height()}
    assert ax.get_title() == "S_ut" and heights == {1.0: 1.0, 0.0: 0.5, 0.5: 0.5}


def test_a_training_without_critic_or_explanations_has_no_panels_for_them():
    with_critic = ppo_log(3, **{"explained variance": 0.1})
    titles = [[ax.get_title() for ax in plots.reinforcement(log).axes] for log in (ppo_log(3), with_critic)]
    assert len(titles[1]) == 8 and [title for title in titles[1] if title not in titles[0]] == ["Value"]


def test_colours_grow_with_the_number_and_tell_the_sign():
    assert colour(0, 5) == "#ffffff" and colour(0, 0) == "#ffffff"
    blue, red = colour(5, 5), colour(-5, 5)
    assert int(blue[5:], 16) > int(blue[1:3], 16) and int(red[1:3], 16) > int(red[5:], 16)
    assert int(colour(1, 5)[1:3], 16) > int(colour(4, 5)[1:3], 16)


def test_figures_are_kept_out_of_pyplot():
    import matplotlib.pyplot as plt

    assert not plt.get_fignums()
    assert all("plt." not in inspect.getsource(getattr(plots, name)) for name in DRAWN)
