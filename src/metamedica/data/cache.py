"""Features on disk, by content: the same cases are featurised once for each version of a modality."""

import contextlib
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from metamedica.errors import BundleError
from metamedica.filed import LiesInFiles
from metamedica.storage import digest_of, read_bundle, write_bundle
from metamedica.types import CaseProblem, Features, Modality, PreparedCases, Progress

KIND = "features"
LEAST_CASES = 500
"""Fewer cases are not worth a file."""
LIMIT_BYTES = 8_000_000_000
"""The cache's size; beyond it the entries that were used longest ago go."""

_ENTRY = re.compile(r"\w+-[0-9a-f]{40}")
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the cache folder: METAMEDICA_CACHE, or the platform's user cache folder. Nothing is created."""
    if named := os.environ.get("METAMEDICA_CACHE"):
        return Path(named)
    from pooch import os_cache

    return Path(os_cache("metamedica"))


def featurised(
    modality: Modality,
    cases: Sequence[str],
    *,
    n_jobs: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> PreparedCases:
    """Return `modality.prepare(cases)`, from the disk where it was done before.

    An entry is named by the modality's name, version and settings and the SHA-256 of the cases in their order. A damaged entry is
    thrown away and made again, and the log says so; so it does where the disk takes no entry.

    Args:
        modality: featurises.
        cases: raw cases; fewer than 500 are always featurised anew.
        n_jobs: passed on.
        cache: whether to look on the disk and to write there.
        progress: passed on.
    """
    if not cache or len(cases) < LEAST_CASES:
        return modality.prepare(cases, n_jobs=n_jobs, progress=progress)
    entry = cache_folder() / f"{modality.name}-{_key(modality, cases)}"
    found = _read(entry)
    if found is None:
        found = modality.prepare(cases, n_jobs=n_jobs, progress=progress)
        _write(entry, found)
    return found


def extra_blocks(
    modality: Modality, names: Sequence[str], canonical: Sequence[str], *, progress: Progress | None = None
) -> Features:
    """Return `modality.blocks(names, canonical)`, from the disk where it was done before; kept as `featurised` keeps its own.

    Args:
        modality: makes the blocks.
        names: of the blocks.
        canonical: cases as `prepare` returned them; fewer than 500 are always made anew.
        progress: passed on.
    """
    if len(canonical) < LEAST_CASES:
        return modality.blocks(names, canonical, progress=progress)
    entry = cache_folder() / f"{modality.name}-{_key(modality, canonical, names)}"
    found = _read(entry)
    if found is None:
        found = PreparedCases([], [], modality.blocks(names, canonical, progress=progress))
        _write(entry, found)
    return found.features


def _key(modality: Modality, cases: Sequence[str], blocks: Sequence[str] = ()) -> str:
    extra = "".join(f"{name}\0" for name in blocks)
    settings = modality.settings()
    how = digest_of(settings) if settings else ""
    digest = hashlib.sha256(f"{modality.name}\0{modality.version}\0{how}{extra}{len(cases)}\0".encode())
    named = modality.identities(cases) if isinstance(modality, LiesInFiles) and not blocks else cases
    for case in named:
        raw = case.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()[:40]


def _read(entry: Path) -> PreparedCases | None:
    try:
        if not entry.exists():
            return None
        tensors, documents = read_bundle(entry, KIND)
        prepared = PreparedCases(
            tensors["rows"]["row"].tolist(),
            documents["cases"]["canonical"],
            tensors["features"],
            [CaseProblem(position, text, reason) for position, text, reason in documents["cases"]["problems"]],
        )
        os.utime(entry)
    except (BundleError, OSError, KeyError, TypeError, ValueError) as error:
        _log.warning("a cached feature file is damaged and is made again: %s", error)
        shutil.rmtree(entry, ignore_errors=True)
        return None
    return prepared


def _write(entry: Path, prepared: PreparedCases) -> None:
    problems = [[problem.position, problem.text, problem.reason] for problem in prepared.problems]
    rows = torch.tensor(prepared.row, dtype=torch.int64)
    try:
        write_bundle(
            entry,
            KIND,
            {"features": prepared.features, "rows": {"row": rows}},
            {"cases": {"canonical": prepared.canonical, "problems": problems}},
        )
        _trim(entry)
    except (OSError, BundleError) as error:
        _log.warning("features are not kept in the cache and will be made again next time: %s", error)


def _trim(newest: Path) -> None:
    entries = []
    for folder in newest.parent.iterdir():
        if folder != newest and _ENTRY.fullmatch(folder.name):
            with contextlib.suppress(OSError):  # another process may remove it meanwhile
                entries.append((folder.stat().st_mtime, _size(folder), folder))
    total = _size(newest)
    for _, size, folder in sorted(entries, reverse=True):
        total += size
        if total > LIMIT_BYTES:
            shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
