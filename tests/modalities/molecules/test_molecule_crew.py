import os
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from metamedica.errors import InputError, MetamedicaError
from metamedica.modalities.molecules import crew
from metamedica.modalities.molecules.crew import Limits, Piece, is_safe, work
from metamedica.modalities.molecules.jobs import Workbench


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def reasons(pieces: Iterator[Piece], count: int) -> list[str]:
    found: list[str | None] = [None] * count
    for places, answer in pieces:
        for place, reason in zip(places, answer.reasons, strict=True):
            assert found[place] is None
            found[place] = reason
    assert None not in found
    return [reason or "" for reason in found]


def test_few_ring_closures_and_few_characters_are_safe(harmless: str, monster: str) -> None:
    assert is_safe("CC(=O)Oc1ccccc1C(=O)O")
    assert is_safe("C" * 1000)
    assert not is_safe("C" * 1001)
    assert not is_safe(harmless)
    assert not is_safe(monster)


def test_the_answers_do_not_depend_on_where_and_by_how_many_they_are_made(
    series: list[str], harmless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*series[:100], "xx", harmless, "C(C"]
    whole = Workbench(500).run("prepare", texts)
    monkeypatch.setattr(crew, "CHUNK", 32)
    for here, n_jobs in ((2000, 2), (0, 1), (0, 3)):
        monkeypatch.setattr(crew, "HERE_TEXTS", here)
        for places, answer in work("prepare", texts, limits=Limits(), n_jobs=n_jobs):
            assert answer.texts == [whole.texts[place] for place in places]
            assert answer.reasons == [whole.reasons[place] for place in places]
            for name, rows in answer.arrays.items():
                assert np.array_equal(rows, whole.arrays[name][places])


def test_a_text_that_takes_too_long_is_refused_and_the_others_are_answered(monster: str, harmless: str) -> None:
    began = time.monotonic()
    found = reasons(work("counts", ["CCO", monster, harmless, "CCN"], limits=Limits(seconds=1.0), n_jobs=1), 4)
    assert found == ["", "reading it takes more than 1 s", "", ""]
    assert time.monotonic() - began < 60


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_text_that_takes_too_much_memory_is_refused_and_the_others_are_answered(monster: str, harmless: str) -> None:
    limits = Limits(seconds=60.0, megabytes=150)
    found = reasons(work("counts", [monster, harmless, "CCN"], limits=limits, n_jobs=1), 3)
    assert found[0]
    assert found[1:] == ["", ""]


def test_in_a_failing_chunk_only_the_text_that_fails_is_refused(
    monster: str, series: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "HERE_TEXTS", 0)
    monkeypatch.setattr(crew, "is_safe", lambda text: True)
    texts = [*series[:20], monster, *series[20:30]]
    found = reasons(work("counts", texts, limits=Limits(seconds=1.0), n_jobs=2), len(texts))
    assert [place for place, reason in enumerate(found) if reason] == [20]
    assert "takes more than 1 s" in found[20]


def test_what_does_not_fit_in_the_time_for_this_process_goes_to_workers(
    series: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "HERE_SECONDS", -1.0)
    pieces = list(work("scaffold", series[:40], limits=Limits(), n_jobs=1))
    assert len(pieces) == 1  # one chunk of a worker
    assert pieces[0].answer.texts == Workbench(500).run("scaffold", series[:40]).texts


def test_progress_counts_every_text_once(harmless: str) -> None:
    calls: list[tuple[int, int, str]] = []
    list(
        work(
            "counts", ["CC"] * 50 + [harmless], limits=Limits(), n_jobs=1,
            progress=lambda *call: calls.append(call), message="reading",
        )
    )  # fmt: skip
    assert calls[-1] == (51, 51, "reading")
    assert [done for done, _, _ in calls] == sorted({done for done, _, _ in calls})


def test_stopping_early_ends_the_workers(series: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "HERE_TEXTS", 0)
    monkeypatch.setattr(crew, "CHUNK", 16)
    pieces = work("counts", series[:200], limits=Limits(), n_jobs=2)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]


def test_an_interrupt_in_the_progress_call_ends_the_workers(series: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(crew, "HERE_TEXTS", 0)
    monkeypatch.setattr(crew, "CHUNK", 16)
    with pytest.raises(KeyboardInterrupt):
        list(work("counts", series[:200], limits=Limits(), n_jobs=2, progress=interrupt))


def test_a_worker_that_cannot_start_is_an_error_and_no_refusal(harmless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_START", "raise SystemExit('no chemistry here')")
    with pytest.raises(MetamedicaError, match=r"did not start \(no chemistry here\); check that .* can import rdkit"):
        list(work("counts", [harmless], limits=Limits()))


@pytest.mark.parametrize("n_jobs", [0, -2])
def test_an_impossible_number_of_processes_is_refused(n_jobs: int) -> None:
    with pytest.raises(InputError, match=f"got n_jobs {n_jobs}"):
        list(work("counts", ["CC"], limits=Limits(), n_jobs=n_jobs))


def test_workers_load_neither_torch_nor_the_front_door(harmless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = crew._START.replace("serve(*arguments)", "assert 'torch' not in sys.modules\nserve(*arguments)")
    assert spy != crew._START
    monkeypatch.setattr(crew, "_START", spy)
    assert reasons(work("counts", [harmless], limits=Limits()), 1) == [""]
