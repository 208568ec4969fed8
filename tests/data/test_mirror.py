"""The local mirror: files are found in their order, and one that is absent or another one is named."""

import hashlib
from pathlib import Path

import pytest

from metamedica.data.mirror import mirrored
from metamedica.errors import FileFormatError, InputError

FILES = {f"room/{name}.csv": hashlib.sha256(name.encode()).hexdigest() for name in ("b", "a")}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "room").mkdir()
    for name in ("a", "b"):
        (tmp_path / "room" / f"{name}.csv").write_text(name, encoding="utf-8")
    monkeypatch.setenv("METAMEDICA_DATA", str(tmp_path))
    return tmp_path


def test_known_files_are_found_in_the_order_asked_for(root: Path) -> None:
    assert mirrored("pets", FILES, source="here") == [root / "room" / "b.csv", root / "room" / "a.csv"]


def test_without_a_mirror_the_message_names_the_files_and_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAMEDICA_DATA", raising=False)
    with pytest.raises(InputError, match=r"pets is read from .* holds room/b\.csv and room/a\.csv \(from here\)"):
        mirrored("pets", FILES, source="here")


def test_an_absent_or_changed_file_is_named(root: Path) -> None:
    (root / "room" / "a.csv").write_text("other", encoding="utf-8")
    with pytest.raises(FileFormatError, match=r"room/a\.csv under METAMEDICA_DATA is not the known file"):
        mirrored("pets", FILES, source="here")
    (root / "room" / "b.csv").unlink()
    with pytest.raises(InputError, match=r"has no file room/b\.csv; put it there \(from here\)"):
        mirrored("pets", FILES, source="here")
