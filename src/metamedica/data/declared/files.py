"""YAML files -> declarations, every mistake as one sentence; and paths that stay inside the root folder."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from metamedica.data.declared.language import Declaration
from metamedica.errors import FileFormatError, InputError

LIMIT_BYTES = 1_000_000
_DEEPEST = 30
_SHOWN = 60


class _Loader(yaml.SafeLoader):
    """Plain YAML: the scalars of YAML 1.2 (`yes`, `no`, `on` and dates are texts; 007 is a text), and each key once."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise FileFormatError(f"line {line} has a list or mapping as a key; give a plain name")
            key = self.construct_object(key_node)
            if key in seen:
                raise FileFormatError(
                    f"line {line} gives the key {key!r} again (first in line {seen[key]}); give it once"
                )
            seen[key] = line
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def read_yaml(path: str | Path) -> dict[Any, Any]:
    """Return the mapping that a YAML file holds.

    Aliases (`*name`) are refused: ten lines of them unfold to gigabytes. So are tags (`!!binary`).

    Raises:
        FileFormatError: the file is missing, larger than a megabyte, not YAML, too deep, repeats a key or a part, or no mapping.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise FileFormatError(
                f"{path.name} has {size:,} bytes and a declaration at most {LIMIT_BYTES:,}; shorten it"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileFormatError(f"{str(path)!r} cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{path.name} is not UTF-8 text; save it as UTF-8") from None
    try:
        _check_shape(text)
        found = yaml.load(text, Loader=_Loader)  # a SafeLoader: texts, numbers, lists and mappings only
    except FileFormatError as error:
        raise FileFormatError(f"{path.name}, {error}") from None
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "a character that YAML does not have"
        raise FileFormatError(f"{path.name}{line} is not YAML ({problem}); mend it") from None
    if not isinstance(found, dict) or not found:
        raise FileFormatError(f"{path.name} holds {_called(found)}; give a mapping of keys to values")
    return found


def _check_shape(text: str) -> None:
    """Refuse aliases, tags and deep nesting before anything is built of the text."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        assert event.start_mark is not None  # every event that is parsed from text has a place
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise FileFormatError(f"line {line} repeats a part by *{event.anchor}; write the part out")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise FileFormatError(f"line {line} has the tag {tag}; leave it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise FileFormatError(f"line {line} nests lists and mappings more than {_DEEPEST} deep; make it flat")


def read_declaration(path: str | Path, *, variant: str | None = None) -> Declaration:
    """Return what a YAML file declares.

    Args:
        path: of the file.
        variant: one of its `variants`, whose keys take the place of the file's own.

    Raises:
        FileFormatError: the file cannot be read or breaks the language, or has no such variant.
    """
    return declaration(read_yaml(path), where=Path(path).name, variant=variant)


def declaration(content: Mapping[Any, Any], *, where: str, variant: str | None = None) -> Declaration:
    """Return a declaration from its keys and values.

    Args:
        content: keys and values, as YAML has them.
        where: what the messages call it.
        variant: one of its `variants`.

    Raises:
        FileFormatError: a key or value that the language does not have, or no such variant.
    """
    whole = _valid(content, where)
    if variant is None:
        return whole
    if variant not in whole.variants:
        known = f"choose one of: {', '.join(whole.variants)}" if whole.variants else "it has none"
        raise FileFormatError(f"{where} has no variant {variant!r}; {known}")
    return _valid({**content, **whole.variants[variant]}, f"{where}, variant {variant}")


def _valid(content: Mapping[Any, Any], where: str) -> Declaration:
    try:
        return Declaration.model_validate(dict(content))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        places = [tuple(_steps(problem["loc"], content)) for problem in problems]
        first = [problem for problem, place in zip(problems, places, strict=True) if place == places[0]]
        count = len(set(places))
        more = f" ({count:,} mistakes in all)" if count > 1 else ""
        raise FileFormatError(f"{_sentence(first, places[0], where)}{more}") from None


def _sentence(problems: list[Any], steps: tuple[Any, ...], where: str) -> str:
    """Return a mistake that pydantic found as one sentence: file, key, what came, what was wanted.

    Args:
        problems: of one place; more than one where it could have been several things.
        steps: the place.
        where: what the messages call the declaration.
    """
    problem = problems[0]
    place = ", ".join((where, ".".join(str(step) for step in steps))) if steps else where
    if problem["type"] == "extra_forbidden":
        known = _known(steps[:-1])
        near = difflib.get_close_matches(str(steps[-1]), known, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of: {', '.join(known)}"
        return f"{place} is no key of a declaration; {hint}"
    if problem["type"] == "missing":
        return f"{place} is not there; give it"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    wanted = " or ".join(dict.fromkeys(_wanted(str(each["msg"])) for each in problems)).replace(" or be ", " or ")
    return f"{place} is {_called(problem.get('input'))} and should {wanted}; mend it"


def _wanted(message: str) -> str:
    """Return what pydantic says a value should be or have, in the words of YAML."""
    wanted = message.partition(" should ")[2].partition(" after validation")[0].partition(", unable")[0]
    wanted = (
        wanted.replace(" or instance of Span", "").replace("valid dictionary", "mapping").replace("valid array", "list")
    )
    return wanted.replace("a valid integer", "an integer").replace("a valid tuple", "a list").replace("valid ", "")


def _steps(loc: tuple[Any, ...], content: Any) -> list[Any]:
    """Return a place without the names of pydantic's alternatives: only keys and positions that the content can have."""
    steps: list[Any] = []
    here = content
    for number, step in enumerate(loc):
        last = number == len(loc) - 1
        if isinstance(here, Mapping) and (step in here or (last and step not in _ALTERNATIVES)):
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        elif isinstance(here, list) and any(isinstance(each, Mapping) and step in each for each in here):
            here = next(each[step] for each in here if isinstance(each, Mapping) and step in each)
        else:
            continue
        steps.append(step)
    return steps


_ALTERNATIVES = {"str", "int", "float", "bool", "Span", "literal['any']", "[key]"}


def _known(steps: tuple[Any, ...]) -> list[str]:
    """Return the keys that the part at a place may have."""
    here: Any = Declaration
    for step in steps:
        model = None if _holds_many(here) else _part(here)
        here = _part(here) if model is None else _fields(model).get(str(step))
    model = _part(here)
    return [] if model is None else sorted(_fields(model))


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _holds_many(annotation: Any) -> bool:
    """Return whether the next step is a key or position, as in `dict[str, Label]`."""
    return get_origin(annotation) in (dict, tuple) or any(_holds_many(each) for each in get_args(annotation))


def _part(annotation: Any) -> type[BaseModel] | None:
    """Return the part of the language inside an annotation such as `dict[str, Label] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _part(each)) is not None), None)


def _called(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}..."


def inside(root: Path, name: str, *, where: str) -> Path:
    """Return a path below the root folder, links followed.

    Args:
        root: the folder that no declaration leaves.
        name: the path as it is declared, relative and with forward slashes.
        where: what the messages call the declaration.

    Raises:
        InputError: the path is absolute, has `..` or a backslash, or leads outside the root by a link.
    """
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise InputError(f"{where} names the path {name!r}; give one below the root folder, without .. and with /")
    whole = root.resolve()
    found = (whole / name).resolve()
    if not found.is_relative_to(whole):
        raise InputError(f"{where} names {name!r}, which is a link that leaves the root folder; put the file inside")
    return found
