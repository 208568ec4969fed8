"""A tiny modality for the data room: a case is a word, its canonical form the word in lower case."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from metamedica import registry
from metamedica.errors import InputError
from metamedica.types import CaseProblem, Encoder, Features, Modality, PreparedCases, Progress, RawEncoder


class Words(Modality):
    """Words of letters and digits; two features, counted calls."""

    name: ClassVar[str] = "words"
    version: ClassVar[str] = "1"
    from_scratch: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def prepare(
        self, cases: Sequence[str], *, n_jobs: int | None = None, progress: Progress | None = None
    ) -> PreparedCases:
        self.asked.append(list(cases))
        rows: list[int] = []
        place: dict[str, int] = {}
        problems: list[CaseProblem] = []
        for position, case in enumerate(cases):
            if case.isalnum():
                rows.append(place.setdefault(case.lower(), len(place)))
            else:
                rows.append(-1)
                problems.append(CaseProblem(position, case[:60], "it is empty" if not case else "it is no word"))
        vectors = torch.tensor([[len(word), sum(map(ord, word))] for word in place], dtype=torch.float32).reshape(-1, 2)
        if progress is not None:
            progress(len(cases), len(cases), "reading words")
        return PreparedCases(rows, list(place), {"vector": vectors}, problems)

    def extra_blocks(self, encoder: str) -> tuple[str, ...]:
        return ("first", "last") if encoder == "spelling" else ()

    def blocks(
        self,
        names: Sequence[str],
        canonical: Sequence[str],
        *,
        n_jobs: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        self.asked.append(list(canonical))
        place = {"first": 0, "last": -1}
        return {name: torch.tensor([[ord(word[place[name]])] for word in canonical]) for name in names}

    def encoder(self, name: str, **settings: Any) -> Encoder:
        raise NotImplementedError

    def raw_encoder(self) -> RawEncoder:
        raise NotImplementedError

    def groups(self, canonical: Sequence[str]) -> list[str]:
        return [word[0] for word in canonical]

    def draw(self, canonical: str, *, width: int = 220, height: int = 160) -> str:
        return canonical

    def read_file(self, path: str) -> tuple[list[str], list[str]] | None:
        return None


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAMEDICA_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("METAMEDICA_CACHE", str(folder))
    return folder


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Words:
    """The modality `words`, registered under every name but "synthetic"."""
    made = Words()

    def modality(name: str, settings: Mapping[str, Any] | None = None) -> Modality:
        if name == "synthetic":
            raise InputError("there is no modality 'synthetic'")
        return made

    monkeypatch.setattr(registry, "modality", modality)
    return made
