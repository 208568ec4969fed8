"""Features on disk: made once for the same content, found out when damaged, never in the way."""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from metamedica.data import cache
from metamedica.data.cache import LEAST_CASES, extra_blocks, featurised
from metamedica.errors import InputError
from metamedica.storage import MANIFEST
from metamedica.types import Modality, PreparedCases

CASES = [f"word{number}" for number in range(LEAST_CASES - 2)] + ["WORD0", "no word"]


def _same(left: PreparedCases, right: PreparedCases) -> bool:
    return (
        left.row == right.row
        and left.canonical == right.canonical
        and left.problems == right.problems
        and left.features.keys() == right.features.keys()
        and all(torch.equal(block, right.features[name]) for name, block in left.features.items())
    )


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def test_the_same_cases_are_featurised_once(words: Any, cache_folder: Path) -> None:
    first = featurised(words, CASES)
    second = featurised(words, CASES)
    assert words.asked == [CASES]
    assert _same(first, second)
    assert first.row[-2] == first.row[0]
    assert [(problem.position, problem.text) for problem in second.problems] == [(LEAST_CASES - 1, "no word")]
    assert len(_entries(cache_folder)) == 1


def test_another_process_finds_the_entry_by_its_content(words: Any, cache_folder: Path) -> None:
    """The name of an entry is part of the format: another program's run must find it, and so must a later version."""
    featurised(words, CASES)
    digest = hashlib.sha256(f"words\x001\x00{len(CASES)}\x00".encode())
    for case in CASES:
        digest.update(len(case).to_bytes(8, "little") + case.encode())
    assert [entry.name for entry in _entries(cache_folder)] == [f"words-{digest.hexdigest()[:40]}"]


def test_extra_blocks_are_made_once_and_stand_beside_those_of_prepare(words: Any, cache_folder: Path) -> None:
    more = [*CASES, "another", "last"]
    canonical, names = featurised(words, more).canonical, ("first", "last")
    made, again = (extra_blocks(words, names, canonical) for _ in range(2))
    assert words.asked == [more, canonical]
    assert len(_entries(cache_folder)) == 2
    assert made.keys() == again.keys() == {*names}
    assert all(torch.equal(block, made[name]) for name, block in again.items())
    assert made["last"][:, 0].tolist() == [ord(word[-1]) for word in canonical]
    assert list(extra_blocks(words, ("last",), canonical)) == ["last"]
    extra_blocks(words, names, canonical[:9])  # too few for a file
    assert words.asked[2:] == [canonical, canonical[:9]]
    assert len(_entries(cache_folder)) == 3


def test_a_modality_without_further_blocks_says_so(words: Any) -> None:
    with pytest.raises(InputError, match="wish for the blocks atoms; words has those that prepare makes only"):
        Modality.blocks(words, ["atoms"], CASES)
    assert Modality.extra_blocks(words, "mlp") == ()


@pytest.mark.parametrize(
    "other",
    [
        [*CASES[:-1], "no  word"],
        CASES[::-1],
        [*CASES, "word0"],
        [CASES[0] + CASES[1], "", *CASES[2:]],
    ],
)
def test_other_cases_or_another_order_are_another_entry(words: Any, cache_folder: Path, other: list[str]) -> None:
    featurised(words, CASES)
    featurised(words, other)
    assert words.asked == [CASES, other]
    assert len(_entries(cache_folder)) == 2


def test_another_version_of_the_modality_is_another_entry(
    words: Any, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    featurised(words, CASES)
    monkeypatch.setattr(type(words), "version", "2")
    featurised(words, CASES)
    assert words.asked == [CASES, CASES]
    assert len(_entries(cache_folder)) == 2


@pytest.mark.parametrize(("cases", "use"), [(CASES[1:], True), (CASES, False)])
def test_few_cases_and_a_cache_turned_off_leave_no_trace(
    words: Any, cache_folder: Path, cases: list[str], use: bool
) -> None:
    for _ in range(2):
        featurised(words, cases, cache=use)
    assert words.asked == [cases, cases]
    assert not cache_folder.exists()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGE: list[Callable[[Path], None]] = [_truncate, _flip, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["features.safetensors", "rows.safetensors", "cases.json", MANIFEST])
def test_a_damaged_entry_is_found_said_and_made_again(
    words: Any, cache_folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], name: str
) -> None:
    good = featurised(words, CASES)
    (entry,) = _entries(cache_folder)
    damage(entry / name)
    with caplog.at_level(logging.WARNING):
        again = featurised(words, CASES)
    assert len(words.asked) == 2
    assert _same(again, good)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "a cached feature file is damaged and is made again"
    ]
    assert _same(featurised(words, CASES), good)
    assert len(words.asked) == 2


def test_an_entry_with_forged_features_under_an_old_checksum_is_not_used(words: Any, cache_folder: Path) -> None:
    good = featurised(words, CASES)
    (entry,) = _entries(cache_folder)
    other = [case + "x" for case in CASES]
    featurised(words, other)
    (foreign,) = set(_entries(cache_folder)) - {entry}
    (entry / "features.safetensors").write_bytes((foreign / "features.safetensors").read_bytes())
    assert _same(featurised(words, CASES), good)
    assert words.asked == [CASES, other, CASES]


def test_an_entry_of_whole_files_that_lacks_a_part_is_made_again(words: Any, cache_folder: Path) -> None:
    good = featurised(words, CASES)
    (entry,) = _entries(cache_folder)
    manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
    (entry / "rows.safetensors").unlink()
    del manifest["files"]["rows.safetensors"]
    (entry / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert _same(featurised(words, CASES), good)
    assert len(words.asked) == 2


def test_several_writers_at_once_all_get_the_features_and_leave_one_whole_entry(words: Any, cache_folder: Path) -> None:
    start = threading.Barrier(8)

    def work(cases: list[str]) -> PreparedCases:
        start.wait()
        return featurised(words, cases)

    with ThreadPoolExecutor(8) as pool:
        for letter in "abc":
            cases = [letter + case for case in CASES]
            good = words.prepare(cases)
            assert all(_same(found, good) for found in pool.map(work, [cases] * 8))
            asked = len(words.asked)
            assert _same(featurised(words, cases), good)
            assert len(words.asked) == asked
    assert len(_entries(cache_folder)) == 3


def test_a_disk_that_takes_nothing_does_not_stop_the_work(
    words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("METAMEDICA_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        found = featurised(words, CASES)
    assert _same(found, words.prepare(CASES))
    assert "features are not kept in the cache and will be made again next time" in caplog.text


def test_a_cache_folder_that_cannot_be_looked_into_does_not_stop_the_work(
    words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAMEDICA_CACHE", str(tmp_path / ("long" * 100)))
    assert _same(featurised(words, CASES), words.prepare(CASES))


def test_the_entries_used_longest_ago_go_first_when_the_cache_is_full(
    words: Any, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = [[f"{letter}{case}" for case in CASES] for letter in "abcd"]
    entries = []
    for age, cases in enumerate(lists[:3]):
        featurised(words, cases)
        (made,) = set(_entries(cache_folder)) - set(entries)
        entries.append(made)
        os.utime(made, (time.time() - 1000 + age,) * 2)
    featurised(words, lists[0])  # used again: now it is the newest
    (cache_folder / "mine").mkdir()
    (cache_folder / "mine" / "notes.txt").write_text("keep " * 10_000, encoding="utf-8")
    size = max(sum(path.stat().st_size for path in entry.iterdir()) for entry in entries)
    monkeypatch.setattr(cache, "LIMIT_BYTES", int(2.5 * size))
    featurised(words, lists[3])
    kept = set(_entries(cache_folder))
    assert entries[0] in kept
    assert not {entries[1], entries[2]} & kept
    assert (cache_folder / "mine" / "notes.txt").is_file()
    assert len(kept) == 3


def test_the_folder_is_the_named_one_or_the_users_and_is_not_made_by_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAMEDICA_CACHE", str(tmp_path / "here"))
    assert cache.cache_folder() == tmp_path / "here"
    assert not (tmp_path / "here").exists()
    monkeypatch.delenv("METAMEDICA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert "metamedica" in str(cache.cache_folder())
    assert list(tmp_path.iterdir()) == []


def test_texts_that_are_no_unicode_have_a_key_too(words: Any, cache_folder: Path) -> None:
    cases = [*CASES[:-1], "\ud800"]
    featurised(words, cases)
    featurised(words, cases)
    assert words.asked == [cases]
