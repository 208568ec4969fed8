"""A YAML file that says all of a `fit`: data, method, settings, seed, output. What stands on the command line comes before it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from metamedica.cli import _options as options
from metamedica.errors import FileFormatError, InputError

_HELD = "metamedica.fit_file"
DATA = {
    "file": "file",
    "declaration": "config",
    **{
        name: name
        for name in (
            "root", "variant", "case", "target", "task", "targets", "kind", "unit", "positive", "group", "family", "split", "about",
            "modality", "schema", "network", "window", "duplicates", "skip_invalid",
        )
    },
}  # fmt: skip
"""Key under `data` -> parameter of `fit`."""
CARD = {name: name for name in ("source", "licence", "attribution")}
TOP = {
    "tuned": "settings_file",
    "compile": "compiled",
    **{
        name: name
        for name in (
            "learner", "encoder", "inner_steps", "steps", "seed", "checkpoints", "resume", "accumulate", "precision", "device", "out",
            "overwrite",
        )
    },
}  # fmt: skip
"""Key -> parameter of `fit`; beside them `data`, `card`, `settings` and `encoder_settings`."""
_MAPS = ("settings", "encoder_settings")
_PATHS = ("file", "root", "schema", "network", "settings_file", "checkpoints", "out")
_LISTS = ("case", "targets")
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class FitFile:
    """What the file says.

    Args:
        values: parameter of `fit` -> value.
        settings: of the method by name.
        encoder_settings: of the encoder by name.
    """

    values: dict[str, Any]
    settings: dict[str, Any]
    encoder_settings: dict[str, Any]


def _taken(ctx: typer.Context, value: str | None) -> str | None:
    """Return the declaration; where the file is one of settings, keep what it says for the options that the command line leaves out.

    Raises:
        InputError: the file does not say a `fit`.
    """
    if value is None or not is_fit_file(value):
        return value
    held = read_fit_file(Path(value))
    ctx.meta[_HELD] = held
    ctx.default_map = {**held.values}
    return held.values.get("config")


Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=_taken,
        help="A YAML file that says all of this (docs/diagnosis.md; other options come before it), or one that declares clinical tasks "
        "(docs/declaring-tasks.md), or the name of a public collection that has one.",
        rich_help_panel="Declared tasks",
    ),
]
WriteConfig = Annotated[
    Path | None,
    typer.Option(
        "--write-config",
        metavar="FILE",
        help="Write all of this as a YAML file that --config reads again.",
        rich_help_panel="Run",
    ),
]


def is_fit_file(value: str) -> bool:
    """Return whether a value of `--config` is a file that says a `fit`: a YAML file with the key `data`, which no declaration has."""
    path = Path(value)
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    from metamedica.data.declared.files import read_yaml

    return "data" in read_yaml(path)


def read_fit_file(path: Path) -> FitFile:
    """Return what a file says. Paths in it are below its own folder.

    Raises:
        FileFormatError: it cannot be read, or is no YAML mapping.
        InputError: an unknown key, or a value that no option takes.
    """
    from metamedica.data.declared.files import read_yaml

    told = read_yaml(path)
    _check_keys(told, [*TOP, "data", "card", *_MAPS], path.name)
    values = _values(told, TOP, path.name)
    for part, names in (("data", DATA), ("card", CARD)):
        inner = told.get(part, {})
        if not isinstance(inner, Mapping):
            raise InputError(f"{path.name} has {part} that is no mapping; give it keys: {', '.join(names)}")
        _check_keys(inner, list(names), f"{path.name}, {part}")
        values |= _values(inner, names, f"{path.name}, {part}")
    if values.get("file") is None and values.get("config") is None:
        raise InputError(f"{path.name} names no data; give file (a table) or declaration under data")
    for name in _PATHS:
        if name in values:
            values[name] = str(path.parent / str(values[name]))
    if "config" in values:
        values["config"] = _declaration(str(values["config"]), path)
    maps = {}
    for name in _MAPS:
        maps[name] = told.get(name) or {}
        if not isinstance(maps[name], Mapping) or not all(isinstance(key, str) for key in maps[name]):
            raise InputError(
                f"{path.name} has {name} that is no mapping; give name: value, such as {name}: {{length: 0.5}}"
            )
    return FitFile(values, dict(maps["settings"]), dict(maps["encoder_settings"]))


def _declaration(named: str, path: Path) -> str:
    """Return a declaration's path, or the name of a public collection as it is.

    Raises:
        InputError: it is a file of settings itself.
    """
    place = path.parent / named
    if place.suffix.lower() not in _SUFFIXES and not place.is_file():
        return named
    if is_fit_file(str(place)):
        raise InputError(
            f"{path.name} names the declaration {named!r}, which is a file of settings like itself; name one of tasks"
        )
    return str(place)


def _check_keys(told: Mapping[Any, Any], known: list[str], where: str) -> None:
    unknown = [key for key in told if key not in known]
    if unknown:
        raise InputError(f"{where} has the unknown key {str(unknown[0])!r}; it may have: {', '.join(known)}")


def _values(told: Mapping[Any, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    found = {}
    for key, name in names.items():
        value = told.get(key)
        if value is None:
            continue
        if isinstance(value, list) and name in _LISTS and all(isinstance(each, str) for each in value):
            value = ",".join(value)
        if not isinstance(value, str | int | float):
            raise InputError(f"{where} has {key} that is a {type(value).__name__}; give one value")
        found[name] = value
    return found


def held(ctx: typer.Context) -> FitFile:
    """Return what the file of `--config` says, an empty one where it is none or was left out."""
    found = ctx.meta.get(_HELD)
    return found if isinstance(found, FitFile) else FitFile({}, {}, {})


def from_command_line(ctx: typer.Context, name: str) -> bool:
    """Return whether a parameter was given on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def as_yaml(
    path: Path, parameters: Mapping[str, Any], settings: Mapping[str, Any], encoder_settings: Mapping[str, Any]
) -> str:
    """Return the text of a file at `path` that says all of this; relative paths in it are seen from its folder.

    Args:
        path: where the file will lie.
        parameters: of `fit` as they took effect; None where nothing was said.
        settings: of the method.
        encoder_settings: of the encoder.
    """
    import yaml

    def said(name: str) -> Any:
        value = parameters.get(name)
        if value is None or value is False:
            return None
        is_file = name == "config" and (Path(str(value)).suffix.lower() in _SUFFIXES or Path(str(value)).is_file())
        if name not in _PATHS and not is_file:
            return value
        return str(value) if Path(str(value)).is_absolute() else os.path.relpath(str(value), path.parent)

    def part(names: Mapping[str, str]) -> dict[str, Any]:
        return {key: value for key, name in names.items() if (value := said(name)) is not None}

    told = {"data": part(DATA), **part(TOP), "card": part(CARD)}
    for once in ("overwrite", "resume"):
        told.pop(once, None)
    told |= {"settings": _plain(settings), "encoder_settings": _plain(encoder_settings)}
    return yaml.safe_dump({key: value for key, value in told.items() if value not in ({}, None)}, sort_keys=False)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def check_written(path: Path | None, *, overwrite: bool, inputs: tuple[Path, ...]) -> None:
    """Refuse a `--write-config` that must not be written, before the work begins.

    Raises:
        FileFormatError: as for any file that a command writes.
    """
    if path is not None:
        try:
            options.check_file(path, _SUFFIXES, overwrite=overwrite, inputs=inputs)
        except FileFormatError as error:
            raise FileFormatError(str(error).replace("--out", "--write-config")) from None
