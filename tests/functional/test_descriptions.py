"""Descriptions: likeness against counting by hand, what is rare tells more, what is not told tells nothing."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.descriptions import (
    SIZE,
    Descriptions,
    described,
    gathered_descriptions,
    near,
    stacked,
)

TEXTS = ["MKVLAARNDC", "MKVLAARNDE", "GGHHIIKKLL", "MKVGGHWWYV"]


def _made(texts: list[str | None]) -> Descriptions:
    found = Descriptions().double()
    found.keep(gathered_descriptions([None if text is None else described(text) for text in texts]))
    return found


def _groups(text: str) -> Counter[str]:
    return Counter(text[at : at + 3] for at in range(len(text) - 2))


def test_likeness_is_the_cosine_of_rare_groups_of_three_letters() -> None:
    known, asked = [_groups(text) for text in TEXTS], _groups("MKVLAARGGH")
    rarity = {
        group: math.log((1 + len(TEXTS)) / (0.5 + sum(group in each for each in known)))
        for group in set().union(asked, *known)
    }

    def weighed(counts: Counter[str]) -> dict[str, float]:
        return {group: math.sqrt(count) * rarity[group] for group, count in counts.items()}

    def cosine(one: dict[str, float], other: dict[str, float]) -> float:
        both = sum(one[group] * other.get(group, 0.0) for group in one)
        return both / math.dist(one.values(), [0] * len(one)) / math.dist(other.values(), [0] * len(other))

    columns = {group: int(described(group).argmax()) for group in rarity}
    assert len(set(columns.values())) == len(columns), "two of these groups share a column; take other texts"
    wanted = [cosine(weighed(asked), weighed(each)) for each in known]
    found = _made(list(TEXTS)).likeness(described("MKVLAARGGH")[None])[0]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-6, rtol=0)


@given(text=st.text("ACDEFGHIKLMNPQRSTVWY", min_size=3, max_size=80))
def test_a_text_is_most_like_itself_in_any_case_of_letters_and_with_any_blanks(text: str) -> None:
    torch.testing.assert_close(described(text.lower()), described(text))
    torch.testing.assert_close(described(f"  {text}\n"), described(text))
    known = _made([*TEXTS, text])
    likeness = known.likeness(described(text)[None])[0]
    assert float(likeness[-1]) == pytest.approx(1)
    assert float(likeness.max()) <= 1 + 1e-6


def test_the_length_of_a_text_does_not_count_and_its_words_may_be_of_any_language() -> None:
    one = described("kinase binding assay, HEK293")
    assert one.shape == (SIZE,)
    known = _made(["kinase binding assay", "blood pressure", "Bindungsversuch über Nacht", "受体结合实验"])
    assert int(known.likeness(described("a binding assay of a kinase " * 5)[None]).argmax()) == 0
    assert int(known.likeness(described("受体结合")[None]).argmax()) == 3


def test_a_task_without_a_description_is_like_none_and_none_is_like_it() -> None:
    known = _made([TEXTS[0], None, TEXTS[2]])
    likeness = known.likeness(torch.stack([described(TEXTS[2]), torch.zeros(SIZE)]))
    assert int(known["count"]) == 3
    assert likeness[0].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert not likeness[1].any()
    batch = stacked([None, TEXTS[0]])
    assert batch is not None
    assert not batch[0].any()
    assert stacked([None, None]) is None
    assert not Descriptions()
    assert gathered_descriptions([None]) == {}


def test_weights_sum_to_one_and_fall_with_likeness() -> None:
    likeness = torch.tensor([[0.9, 0.5, 0.1]], dtype=torch.float64)
    for width in (0.01, 0.1, 1.0):
        weights = near(likeness, width)[0]
        assert float(weights.sum()) == pytest.approx(1)
        assert weights.tolist() == sorted(weights.tolist(), reverse=True)
    assert float(near(likeness, 0.01)[0, 0]) == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "  ", "AB", " x "])
def test_a_description_that_tells_nothing_is_refused(text: str) -> None:
    with pytest.raises(TaskError, match="at least 3 letters"):
        described(text)


def test_what_was_kept_comes_back_from_a_state() -> None:
    known = _made(list(TEXTS)).float()
    again = Descriptions.from_state(known.state_dict())
    asked: Tensor = described("MKVLAARGGH")[None]
    torch.testing.assert_close(again.likeness(asked), known.likeness(asked))
    assert not Descriptions.from_state({})
