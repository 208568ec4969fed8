"""A folder with a declaration and its files, from texts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from metamedica.data.declared import Declared, read_declared

Declare = Callable[..., Declared]


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    """Return a function that writes a declaration (name and table given) and files, and reads it: `declare(text, files)`."""

    def read(text: str, files: dict[str, str] | None = None, *, variant: str | None = None) -> Declared:
        for name, content in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
        head = "" if "source: meds" in text else "table: a.csv\n"
        (tmp_path / "d.yaml").write_text(f"name: demo\n{head}{text}", encoding="utf-8")
        return read_declared(tmp_path / "d.yaml", variant=variant)

    return read
