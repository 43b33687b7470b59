"""Decoding with what rows share kept apart, against plain forward passes over each row alone."""

import pytest
import torch
from tiny_models import make_checkpoint
from transformers import AutoModelForCausalLM

from ledexlib.models.local import decoding
from ledexlib.models.local.decoding import Decoding, worth_sharing

ROOM = 6


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt_bigcode"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    path = make_checkpoint(request.param, tmp_path_factory.mktemp(request.param))
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def prompts(common: int, lengths: list[int]) -> list[list[int]]:
    """Prompts with the same first tokens."""
    draw = torch.Generator().manual_seed(common)
    ids = lambda n: torch.randint(5, 60, (n,), generator=draw).tolist()  # noqa: E731
    beginning = ids(common)
    return [beginning + ids(length) for length in lengths]


def alone(model, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize(
    ("common", "copies", "beginnings"),
    [(0, [0, 0, 0, 1, 1, 2, 2, 2], 3), (40, [0, 1, 2], 1), (40, [0, 0, 0, 1, 1, 2, 2, 2], 3), (0, [0, 1, 2], 0)],
    ids=["samples", "examples", "both", "nothing"],
)
def test_sharing_leaves_the_logits_of_each_row_as_they_are_alone(model, common, copies, beginnings) -> None:
    """Before and after rows are removed; ``beginnings`` counts what is shared."""
    asked = prompts(common, [3, 11, 7])
    rows = [list(asked[copy]) for copy in copies]
    with torch.inference_mode():
        made = Decoding(model, asked, copies, ROOM, model.config.max_position_embeddings - 1)
        assert len({number for number, _ in made._shared.groups} if made._shared else ()) == beginnings
        for step in range(ROOM):
            expected = torch.stack([alone(model, row) for row in rows])
            assert torch.allclose(made.logits.log_softmax(-1), expected.log_softmax(-1), atol=2e-4), step
            if step == 3:
                left = [place for place in range(len(rows)) if place % 3]
                made.keep(left)
                rows = [rows[place] for place in left]
            tokens = torch.tensor([7 + (step * 5 + place) % 40 for place in range(len(rows))])
            made.advance(tokens)
            rows = [[*row, token] for row, token in zip(rows, tokens.tolist(), strict=True)]
    assert model.config._attn_implementation == "sdpa"


def test_what_is_shared_is_kept_once(model) -> None:
    asked = prompts(0, [50, 40])
    with torch.inference_mode():
        made = Decoding(model, asked, [0] * 5 + [1] * 5, ROOM, 2**31)
        assert [keys.shape[1] for keys, _ in made._shared.layers[0]] == [50, 40]
        assert made._cache.get_seq_length() == 0
        made.advance(torch.full((10,), 7))
        assert made._cache.layers[0].keys.shape[0] == 10 and made._cache.get_seq_length() == 1


def test_attention_in_a_window_shares_nothing(model, monkeypatch) -> None:
    assert worth_sharing(model)
    monkeypatch.setattr(model.config, "sliding_window", 16, raising=False)
    assert not worth_sharing(model)
    with torch.inference_mode():
        assert Decoding(model, prompts(40, [3, 4]), [0, 0, 0, 1], ROOM, 2**31)._shared is None


def test_an_error_leaves_the_model_its_own_attention(model, monkeypatch) -> None:
    with torch.inference_mode():
        made = Decoding(model, prompts(0, [9]), [0, 0], ROOM, 2**31)
        monkeypatch.setattr(decoding.PreallocatedLayer, "update", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made.advance(torch.tensor([7, 7]))
    assert model.config._attn_implementation == "sdpa"
