"""The credit viewer: an answer's tokens coloured by segment, reward, value and advantage, as static HTML.

Each colour scale is symmetric around 0, from orange (negative) over white to blue (positive), and says its range; a
token's numbers appear when the pointer rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Protocol

from IPython.display import HTML

from ledexlib.report.views import MONO

POSITIVE, NEGATIVE = (0, 114, 178), (213, 94, 0)  # Okabe and Ito's blue and vermilion
EXPLANATION, REFINEMENT = "#d9ecf7", "#fbe9d0"
BOX = "border:1px solid #d0d7de;border-radius:6px;padding:10px 14px;margin:12px 0;max-width:1120px"
GRID = "display:grid;grid-template-columns:repeat(auto-fit,minmax(430px,1fr));gap:10px 18px"
CODE = (
    "background:#fff;border:1px solid #eaeef2;padding:8px 10px;margin:2px 0;font-size:0.8em;line-height:1.55;"
    f"white-space:pre-wrap;overflow-wrap:anywhere;{MONO}"
)
LABEL = "color:#57606a;font-size:0.8em"


class Answer(Protocol):
    """What is shown: an answer of ``ppo_log.Shown``, its lists as long as ``tokens``."""

    task_id: str
    explain: bool
    tokens: Sequence[str]
    explanation_tokens: int
    rewards: Sequence[float]
    kl: Sequence[float]
    values: Sequence[float]
    advantages: Sequence[float]
    code_reward: float | None
    explanation_reward: float | None
    status: str


def view(answer: Answer, title: str = "") -> HTML:
    """One answer, four times: where its segments are, what was rewarded, what was expected, what is learned."""
    asked = "explain and refine" if answer.explain else "refine"
    worth = [f"R(e) = {answer.explanation_reward:+.2f}"] if answer.explanation_reward is not None else []
    worth += [f"R(r) = {answer.code_reward:+.2f}"] if answer.code_reward is not None else ["no reward"]
    head = " · ".join([*([title] if title else []), answer.task_id, asked, answer.status, *worth])
    panels = [
        _panel("segment", f"{_swatch(EXPLANATION)} explanation {_swatch(REFINEMENT)} refinement", answer, _segment),
        *(_numbers(name, values, answer) for name, values in (
            ("reward, KL penalty included", answer.rewards), ("value V", answer.values),
            ("advantage A", answer.advantages),
        )),
    ]  # fmt: skip
    return HTML(
        f'<div style="{BOX}"><div style="font-weight:600;margin-bottom:6px">{escape(head)}</div>'
        f'<div style="{GRID}">{"".join(panels)}</div></div>'
    )


def _segment(answer: Answer, t: int) -> str:
    return EXPLANATION if t < answer.explanation_tokens else REFINEMENT


def _numbers(name: str, values: Sequence[float], answer: Answer) -> str:
    """A panel coloured by numbers; the scale reaches to the largest of them."""
    limit = max((abs(value) for value in values), default=0.0)
    scale = " ".join(
        f'{_swatch(colour(share * limit, limit))} {share * limit:+.2g}' for share in (-1, -0.5, 0, 0.5, 1)
    ) if limit else "all 0"  # fmt: skip
    return _panel(name, scale, answer, lambda _, t: colour(values[t], limit))


def colour(value: float, limit: float) -> str:
    """White at 0, full at ±limit; the square root makes small numbers visible."""
    share = (min(abs(value) / limit, 1.0) if limit else 0.0) ** 0.5 * 0.75
    tint = POSITIVE if value > 0 else NEGATIVE
    red, green, blue = (round(255 - (255 - part) * share) for part in tint)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _panel(name: str, legend: str, answer: Answer, look: Callable[[Answer, int], str]) -> str:
    spans = "".join(
        f'<span style="background:{look(answer, t)}" title="{_hint(answer, t)}">{_token(token)}</span>'
        for t, token in enumerate(answer.tokens)
    )
    title = f'<div style="{LABEL}"><b>{escape(name)}</b> &nbsp; {legend}</div>'
    return f'<div>{title}<pre style="{CODE}">{spans}</pre></div>'


def _token(token: str) -> str:
    """A line break gets a mark that can carry its colour."""
    return escape(token).replace("\n", "⏎\n")


def _hint(answer: Answer, t: int) -> str:
    return (
        f"token {t}: reward {answer.rewards[t]:+.3f}, KL {answer.kl[t]:+.3f}, value {answer.values[t]:+.3f}, "
        f"advantage {answer.advantages[t]:+.3f}"
    )


def _swatch(background: str) -> str:
    look = "display:inline-block;width:0.9em;height:0.9em;border:1px solid #ccc"
    return f'<span style="{look};background:{background}"></span>'
