"""Labels to classes: which is positive is said or clear, never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.data import labels
from metamedica.errors import TaskError


@pytest.mark.parametrize(
    ("text", "label"),
    [("1.0", "1"), ("1.", "1"), ("0.000", "0"), ("-2.0", "-2"), ("1.5", "1.5"), ("active", "active"), ("1.0 ", "1.0 ")],
)
def test_a_whole_number_is_the_same_label_with_and_without_decimals(text: str, label: str) -> None:
    assert labels.class_label(text) == label


@pytest.mark.parametrize("pair", labels.NEGATIVE_POSITIVE)
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("turned", [False, True])
def test_clear_pairs_are_known_in_any_letters_and_order(pair: tuple[str, str], change: type[str], turned: bool) -> None:
    negative, positive = (change(label) for label in pair)
    found = [positive, negative] if turned else [negative, positive]
    classes, index = labels.classes_of(found, "binary", None, elsewhere=found, where="t")
    assert classes == (negative, positive)
    assert index == {negative: 0, positive: 1}


@pytest.mark.parametrize("pair", labels.NEGATIVE_POSITIVE)
@pytest.mark.parametrize("place", [0, 1])
def test_one_label_of_a_clear_pair_names_the_other(pair: tuple[str, str], place: int) -> None:
    classes, index = labels.classes_of([pair[place]], "binary", None, elsewhere=[pair[place]], where="t")
    assert classes == pair
    assert index == {pair[place]: place}


def test_two_spellings_of_one_label_are_one_class() -> None:
    classes, index = labels.classes_of(["Active", "active", "INACTIVE"], "binary", None, elsewhere=[], where="t")
    assert classes == ("INACTIVE", "Active")
    assert index == {"Active": 1, "active": 1, "INACTIVE": 0}


@pytest.mark.parametrize(
    ("found", "elsewhere", "classes"),
    [
        (["sick", "well"], ["sick", "well"], ("well", "sick")),
        (["well", "sick"], ["well", "sick"], ("well", "sick")),
        (["well"], ["sick", "well"], ("well", "sick")),
        (["sick"], ["sick", "well"], ("well", "sick")),
        (["sick"], ["sick"], ("not sick", "sick")),
        (["sick"], ["sick", "well", "dead"], ("not sick", "sick")),
        (["0", "1"], ["0", "1"], ("0", "1")),
    ],
)
def test_a_named_positive_label_is_class_one(found: list[str], elsewhere: list[str], classes: tuple[str, str]) -> None:
    positive = "1" if "1" in found else "sick"
    made, index = labels.classes_of(found, "binary", positive, elsewhere=elsewhere, where="t")
    assert made == classes
    assert all(made[index[label]] == label for label in found)


def test_a_named_positive_label_turns_a_clear_pair_around() -> None:
    classes, index = labels.classes_of(["no", "yes"], "binary", "no", elsewhere=["no", "yes"], where="t")
    assert classes == ("yes", "no")
    assert index == {"yes": 0, "no": 1}


@pytest.mark.parametrize(
    ("found", "positive", "message"),
    [
        (
            ["a", "b", "c"],
            None,
            r"f, task 't' has 3 labels \('a', 'b', 'c'\) and a binary task has two; name kind multi",
        ),
        (["a", "b", "c"], "a", "has 3 labels"),
        (["a", "b"], None, "has the labels 'a', 'b', and which one is positive is not clear; name it"),
        (["a"], None, "has the label 'a', and which one is positive is not clear; name it"),
        (["a", "b"], "c", "has the labels 'a', 'b', neither is the positive one 'c'; name one of them"),
        (["0", "yes"], None, "which one is positive is not clear"),
        (list("abcdef"), None, r"has 6 labels \('a', 'b', 'c', 'd', \.\.\.\)"),
    ],
)
def test_labels_that_leave_a_doubt_are_refused(found: list[str], positive: str | None, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        labels.classes_of(found, "binary", positive, elsewhere=found, where="f, task 't'")


@given(st.lists(st.integers(-50, 50).map(str) | st.text("abz", min_size=1, max_size=3), unique=True, min_size=1))
def test_classes_of_many_are_numbers_in_their_order_and_then_words(found: list[str]) -> None:
    classes, index = labels.classes_of(found, "multiclass", None, elsewhere=found, where="t")
    assert sorted(classes) == sorted(found)
    assert index == {label: place for place, label in enumerate(classes)}
    numeric = [label for label in classes if label.lstrip("-").isdigit()]
    assert list(classes[: len(numeric)]) == numeric
    assert [int(label) for label in numeric] == sorted(int(label) for label in numeric)
    assert labels.classes_of(found[::-1], "multiclass", None, elsewhere=found, where="t")[0] == classes
