"""Bundles: written whole or not at all; any change afterwards is found; nothing is unpickled."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metamedica import storage
from metamedica.errors import BundleError
from metamedica.storage import MANIFEST, read_bundle, replace_file, sha256, write_bundle

_FLIPS = 1500
TENSORS = {
    "weights": {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "empty": torch.zeros(0, 4)},
    "state": {
        "count": torch.tensor(7),
        "bits": torch.tensor([True, False]),
        "bytes": torch.arange(5, dtype=torch.uint8),
    },
}
DOCUMENTS = {"settings": {"names": ["Ärzte", "b"], "rate": 0.1, "none": None}, "list": [1, 2.5, "x"]}
TEXTS = {"CARD.md": "# A card\n"}


def _write(folder: Path) -> Path:
    write_bundle(folder, "model", TENSORS, DOCUMENTS, texts=TEXTS)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return _write(tmp_path / "bundle")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _equal(left: Tensor, right: Tensor) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)


def _forged(bundle: Path, **changes: object) -> None:
    """Write a manifest that is well formed and lies."""
    manifest = {**json.loads((bundle / MANIFEST).read_text()), **changes}
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def test_what_was_written_is_read_back(bundle: Path) -> None:
    tensors, documents = read_bundle(bundle, "model")
    assert documents == DOCUMENTS
    assert tensors.keys() == TENSORS.keys()
    for stem, named in TENSORS.items():
        assert tensors[stem].keys() == named.keys()
        assert all(_equal(tensors[stem][name], value) for name, value in named.items())
    assert (bundle / "CARD.md").read_text() == TEXTS["CARD.md"]
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_the_same_content_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    assert _contents(bundle) == _contents(_write(tmp_path / "again"))


def test_tensors_that_share_memory_or_are_not_contiguous_are_written_apart(tmp_path: Path) -> None:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4).requires_grad_()
    named = {"tied": base, "again": base, "row": base[1], "turned": base.T, "part": base[:, 1:3]}
    write_bundle(tmp_path / "b", "model", {"w": named}, {})
    read, _ = read_bundle(tmp_path / "b", "model")
    assert all(_equal(read["w"][name], value.detach()) for name, value in named.items())


def _flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def test_any_flipped_bit_is_found_in_every_file(bundle: Path) -> None:
    """At least 1,500 flips, spread over all files and all places in a byte."""
    chosen = []
    for name, data in _contents(bundle).items():
        step = max(1, 8 * len(data) // 400) | 1  # odd: each of the eight places in a byte has its turn
        chosen += [(name, bit) for bit in range(0, 8 * len(data), step)]
    assert len(chosen) >= _FLIPS
    missed = []
    for name, bit in chosen:
        _flip(bundle / name, bit)
        try:
            read_bundle(bundle, "model")
            missed.append((name, bit))
        except BundleError:
            pass
        _flip(bundle / name, bit)
    assert missed == []
    read_bundle(bundle, "model")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("b") / "bundle")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_other_content_of_a_file_is_found(shared: Path, data: st.DataObject) -> None:
    """Cut short, longer, with bytes put in, taken out or replaced, several at once."""
    name = data.draw(st.sampled_from(sorted(_contents(shared))))
    path = shared / name
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    changed = whole[:start] + data.draw(st.binary(max_size=40)) + whole[stop:]
    path.write_bytes(changed)
    try:
        if changed == whole:
            read_bundle(shared, "model")
        else:
            with pytest.raises(BundleError):
                read_bundle(shared, "model")
    finally:
        path.write_bytes(whole)


def test_a_file_cut_short_anywhere_is_found(bundle: Path) -> None:
    for name, whole in _contents(bundle).items():
        for length in range(0, len(whole), 7):
            (bundle / name).write_bytes(whole[:length])
            with pytest.raises(BundleError):
                read_bundle(bundle, "model")
        (bundle / name).write_bytes(whole[:-1])
        with pytest.raises(BundleError):
            read_bundle(bundle, "model")
        (bundle / name).write_bytes(whole)


def test_the_error_names_the_damaged_file_and_what_to_do(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(
        BundleError,
        match=r"weights\.safetensors was changed or damaged after it was written .*; restore it from a copy$",
    ):
        read_bundle(bundle, "model")


def test_a_missing_file_is_found(bundle: Path) -> None:
    for name in _contents(bundle):
        copy = shutil.copytree(bundle, bundle.with_name("copy"))
        (copy / name).unlink()
        with pytest.raises(BundleError, match=r"has no MANIFEST\.json|lacks its file"):
            read_bundle(copy, "model")
        shutil.rmtree(copy)


def test_a_foreign_file_is_found_but_a_file_managers_is_left_alone(bundle: Path) -> None:
    (bundle / ".DS_Store").write_bytes(b"icons")
    read_bundle(bundle, "model")
    (bundle / "extra.json").write_text("{}")
    with pytest.raises(BundleError, match=r"holds 'extra\.json', which is not part of it; take it out"):
        read_bundle(bundle, "model")


def test_a_swap_of_two_whole_files_is_found(bundle: Path) -> None:
    one, two = bundle / "weights.safetensors", bundle / "state.safetensors"
    one.rename(bundle / "third")
    two.rename(one)
    (bundle / "third").rename(two)
    with pytest.raises(BundleError, match="was changed or damaged"):
        read_bundle(bundle, "model")


@pytest.mark.parametrize("name", ["weights.safetensors", "settings.json", "CARD.md", MANIFEST])
def test_a_link_in_the_place_of_a_file_is_refused_even_to_the_same_bytes(
    bundle: Path, tmp_path: Path, name: str
) -> None:
    real = tmp_path / "elsewhere"
    (bundle / name).rename(real)
    (bundle / name).symlink_to(real)
    with pytest.raises(BundleError, match=r"has no MANIFEST\.json|lacks its file"):
        read_bundle(bundle, "model")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["settings.json", MANIFEST])
def test_a_pipe_in_the_place_of_a_file_does_not_hang_the_reader(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(BundleError, match=r"has no MANIFEST\.json|lacks its file"):
        read_bundle(bundle, "model")


@pytest.mark.parametrize(
    "name", ["../secret.json", "..", ".", "", "/etc/passwd", "sub/secret.json", "x" * 5000, "a\0b"]
)
def test_a_manifest_cannot_lead_out_of_its_folder(bundle: Path, name: str) -> None:
    secret = b'{"secret": 1}'
    (bundle.parent / "secret.json").write_bytes(secret)
    (bundle / "sub").mkdir()
    (bundle / "sub" / "secret.json").write_bytes(secret)
    (bundle / "sub").rename(bundle / ".sub")
    digest = sha256(bundle.parent / "secret.json")
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    for forged in (name, name.replace("sub/", ".sub/")):
        _forged(bundle, files={**files, forged: digest})
        with pytest.raises(BundleError, match="lacks its file"):
            read_bundle(bundle, "model")


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": 1, "kind": "model", "files": []}',
        b'{"files": [[1, "x"]], "format": 1, "kind": "model"}',
    ],
)
def test_a_manifest_that_is_none_is_damage_and_not_a_crash(bundle: Path, manifest: bytes) -> None:
    (bundle / MANIFEST).write_bytes(manifest)
    with pytest.raises(BundleError, match=r"MANIFEST\.json is damaged; restore the folder from a copy"):
        read_bundle(bundle, "model")


@pytest.mark.parametrize("change", [{"files": [["a", "b"]]}, {"files": {"a": 1}}, {"kind": 3}, {"files": None}])
def test_a_manifest_of_the_wrong_types_is_damage(bundle: Path, change: dict[str, object]) -> None:
    _forged(bundle, **change)
    with pytest.raises(BundleError, match=r"MANIFEST\.json is damaged"):
        read_bundle(bundle, "model")


def test_a_bundle_of_another_kind_or_format_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match="holds a model, a checkpoint was wanted"):
        read_bundle(bundle, "checkpoint")
    _forged(bundle, format=2)
    with pytest.raises(BundleError, match="has file format 2, this version of Metamedica reads 1; update Metamedica"):
        read_bundle(bundle, "model")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for wrong in ("nowhere", "file"):
        with pytest.raises(BundleError, match="is not a model folder"):
            read_bundle(tmp_path / wrong, "model")


@pytest.mark.parametrize(
    ("name", "content"), [("settings.json", b"{"), ("settings.json", b"[" * 100_000), ("weights.safetensors", b"junk")]
)
def test_a_file_that_matches_its_checksum_and_still_makes_no_sense_is_refused(
    bundle: Path, name: str, content: bytes
) -> None:
    (bundle / name).write_bytes(content)
    files = json.loads((bundle / MANIFEST).read_text())["files"]
    _forged(bundle, files={**files, name: sha256(bundle / name)})
    with pytest.raises(BundleError, match=rf"{name} cannot be read"):
        read_bundle(bundle, "model")


def test_writing_replaces_a_bundle_of_the_same_kind_whole(bundle: Path) -> None:
    write_bundle(bundle, "model", {"other": {"b": torch.ones(2)}}, {})
    tensors, documents = read_bundle(bundle, "model")
    assert list(tensors) == ["other"]
    assert documents == {}
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_writing_never_touches_a_folder_that_is_something_else(bundle: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for folder, kind in ((mine, "model"), (bundle, "checkpoint"), (tmp_path / "file", "model")):
        before = _contents(tmp_path)
        with pytest.raises(BundleError):
            write_bundle(folder, kind, TENSORS, DOCUMENTS)
        assert _contents(tmp_path) == before


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    _write(tmp_path / "new")
    read_bundle(tmp_path / "new", "model")


@pytest.mark.parametrize("broken", ["_write_tensors", "_write", "sync", "sha256"])
@pytest.mark.parametrize("stands", [True, False])
def test_a_write_that_fails_leaves_what_stood_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, stands: bool
) -> None:
    folder = tmp_path / "bundle"
    if stands:
        _write(folder)
    before = _contents(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage, broken, full)
    with pytest.raises(OSError, match="No space left on device"):
        write_bundle(folder, "model", {"other": {"b": torch.ones(2)}}, {"d": 1})
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == (["bundle"] if stands else [])
    assert _contents(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_every_file_of_a_bundle_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = _write(tmp_path / "bundle")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be synced on Windows")
def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power may fail at any moment: files, then their folder, then the name, then the folder that holds the name."""
    events: list[tuple[str, int]] = []
    sync, rename = os.fsync, Path.rename

    def note_sync(handle: int) -> None:
        sync(handle)
        events.append(("sync", os.fstat(handle).st_ino))

    def note_rename(path: Path, target: Path) -> Path:
        events.append(("rename", path.stat().st_ino))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    folder = _write(tmp_path / "bundle")
    at = events.index(("rename", folder.stat().st_ino))
    before, after = events[:at], events[at + 1 :]
    assert before[-1] == ("sync", folder.stat().st_ino)
    assert {inode for _, inode in before} == {path.stat().st_ino for path in [folder, *folder.iterdir()]}
    assert after == [("sync", tmp_path.stat().st_ino)]


def test_a_value_that_is_no_number_in_json_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_bundle(tmp_path / "b", "model", {}, {"d": {"score": float("nan")}})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("a small tmpfs can be mounted only by root")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("large", ["tensors", "documents", "texts"])
def test_a_full_disk_is_an_oserror_and_the_bundle_before_stays(small_disk: Path, large: str) -> None:
    folder = _write(small_disk / "bundle")
    before = _contents(small_disk)
    tensors = {"w": {"a": torch.zeros(100_000 if large == "tensors" else 1)}}
    documents = {"d": "x" * (400_000 if large == "documents" else 1)}
    texts = {"CARD.md": "x" * (400_000 if large == "texts" else 1)}
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_bundle(folder, "model", tensors, documents, texts=texts)
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in small_disk.iterdir()] == ["bundle"]
    assert _contents(small_disk) == before
    read_bundle(folder, "model")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "table.json"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"

    def interrupted(draft: Path, data: bytes) -> None:
        draft.write_bytes(data[:1])
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"three")
    assert _contents(tmp_path) == {"sub/table.json": b"two"}


_UNPICKLED = """
import sys
from pathlib import Path
seen = []
def hook(event, arguments):
    if event in ("pickle.find_class", "marshal.loads", "exec", "compile"):
        seen.append((event, arguments))
import torch
from metamedica.storage import read_bundle, write_bundle
folder = Path(sys.argv[1])
read_bundle(folder, "model")  # imports what it needs
sys.addaudithook(hook)
read_bundle(folder, "model")
assert seen == [], seen
import pickle
pickle.loads(pickle.dumps(Path))
assert "pickle.find_class" in [event for event, _ in seen], "the hook sees nothing"
sys.stdout.write("clean")
"""


def test_nothing_is_unpickled_or_executed_on_load(bundle: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", _UNPICKLED, str(bundle)], capture_output=True, text=True, check=False)
    assert ended.stdout == "clean", ended.stderr
