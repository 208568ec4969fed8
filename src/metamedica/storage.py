"""Bundles: folders of safetensors and JSON with a SHA-256 manifest, written whole or not at all. Nothing is ever unpickled.

A flipped bit inside a safetensors file loads without a word, so every file of a bundle is hashed in `MANIFEST.json` and checked
before it is parsed. A bundle is written to a sibling folder, synced, and renamed into place.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from metamedica.errors import BundleError

MANIFEST = "MANIFEST.json"
_FORMAT = 1


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to the disk; folders only where the system can (not on Windows)."""
    if path.is_dir():
        if os.name == "nt":
            return
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    else:
        with path.open("r+b") as file:
            os.fsync(file.fileno())


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_tensors(path: Path, named: Mapping[str, Tensor]) -> None:
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in named.items():
        whole = value.detach().contiguous()
        memory = whole.untyped_storage().data_ptr()
        plain[name] = whole.clone() if memory in seen else whole  # safetensors refuses tensors that share memory
        seen.add(memory)
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(plain, path)
        path.chmod(mode)  # safetensors leaves the file to its owner alone, whatever the umask says
    except SafetensorError as error:  # it hides the system's error (a full disk) in its text
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    sync(path)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all (temporary file, sync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        _write(draft, data)
        draft.replace(path)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_bundle(
    folder: Path,
    kind: str,
    tensors: Mapping[str, Mapping[str, Tensor]],
    documents: Mapping[str, Any],
    *,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write a bundle, replacing one of the same kind that stands there.

    Args:
        folder: the bundle's folder; created with its parents.
        kind: what it is ("model", "checkpoint", ...); checked on reading.
        tensors: file stem -> named tensors, written as `<stem>.safetensors`.
        documents: file stem -> JSON value, written as `<stem>.json`.
        texts: file name -> text, for the reader of a model card.

    Raises:
        BundleError: the folder exists and is not a bundle of this kind (nothing of it is touched).
        OSError: the disk is full or read-only; nothing partial stays behind.
    """
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        _check_kind(folder, kind)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
    draft.mkdir()
    try:
        for stem, named in tensors.items():
            _write_tensors(draft / f"{stem}.safetensors", named)
        for stem, value in documents.items():
            _write(draft / f"{stem}.json", _json(value))
        for name, text in (texts or {}).items():
            _write(draft / name, text.encode())
        files = {path.name: sha256(path) for path in sorted(draft.iterdir())}
        _write(draft / MANIFEST, _json({"format": _FORMAT, "kind": kind, "files": files}))
        sync(draft)
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
        sync(folder.parent)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _check_kind(folder: Path, kind: str) -> dict[str, str]:
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a {kind} folder")
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{folder} is not a {kind} folder: it has no {MANIFEST}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); check the disk and who may read it") from None
    try:
        manifest = json.loads(data)
        found, files, version = manifest["kind"], manifest["files"], manifest["format"]
        whole = _json(manifest) == data and all(isinstance(part, str) for part in (found, *files, *files.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise BundleError(f"{path} is damaged; restore the folder from a copy")
    if found != kind:
        raise BundleError(f"{folder} holds a {found}, a {kind} was wanted")
    if version != _FORMAT:
        raise BundleError(
            f"{folder} has file format {version}, this version of Metamedica reads {_FORMAT}; update Metamedica"
        )
    return dict(files)


def read_bundle(folder: Path, kind: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return (tensors, documents) of a bundle after checking every file against the manifest.

    Raises:
        BundleError: not a bundle, of another kind, or a file is missing, foreign, truncated or changed. Hidden files (a file
            manager's) are no part of a bundle and are left alone.
    """
    files = _check_kind(folder, kind)
    present = {path.name for path in folder.iterdir()}
    foreign = sorted(name for name in present - set(files) - {MANIFEST} if not name.startswith("."))
    if foreign:
        raise BundleError(f"{folder} holds {foreign[0]!r}, which is not part of it; take it out of the folder")
    for name, digest in files.items():
        path = folder / name
        if name not in present or path.is_symlink() or not path.is_file():
            raise BundleError(f"{folder} lacks its file {name!r}; restore the folder from a copy")
        try:
            same = sha256(path) == digest
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror}); check the disk and who may read it") from None
        if not same:
            raise BundleError(
                f"{path} was changed or damaged after it was written (its SHA-256 differs); restore it from a copy"
            )
    tensors: dict[str, dict[str, Tensor]] = {}
    documents: dict[str, Any] = {}
    for name in files:
        path = folder / name
        try:
            if path.suffix == ".safetensors":
                tensors[path.stem] = load_file(path)
            elif path.suffix == ".json":
                documents[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RuntimeError, OSError, SafetensorError) as error:
            raise BundleError(f"{path} cannot be read ({type(error).__name__}); restore it from a copy") from None
    return tensors, documents


_TENSOR = "tensor:"


def apart(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return (JSON value, tensors): a nested value whose tensors are replaced by a text that names them; `together` undoes it."""
    tensors: dict[str, Tensor] = {}

    def plain(each: Any) -> Any:
        if isinstance(each, Tensor):
            name = f"{len(tensors):05d}"
            tensors[name] = each
            return _TENSOR + name
        if isinstance(each, Mapping):
            return {str(key): plain(own) for key, own in each.items()}
        return [plain(own) for own in each] if isinstance(each, list | tuple) else each

    return plain(value), tensors


def together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the nested value that `apart` took apart.

    Raises:
        KeyError: a tensor is missing.
    """
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value.removeprefix(_TENSOR)]
    if isinstance(value, Mapping):
        return {key: together(own, tensors) for key, own in value.items()}
    return [together(own, tensors) for own in value] if isinstance(value, list) else value


def digest_of(value: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a nested JSON value that may hold tensors."""
    plain, tensors = apart(value)
    found = hashlib.sha256(_json(plain))
    for tensor in tensors.values():
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
