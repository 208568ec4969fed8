"""What a figure rests on, definition by definition: those functions, classes and constants that the code behind it can reach.

A whole-file hash makes a figure stale whenever a sentence or a neighbour in one of sixty files changes. Here a module counts by the definitions that
are reached from some roots, without docstrings, comments and annotations. Names are followed through imports; of a class those methods count whose
name is mentioned anywhere in what is reached (rapid type analysis: Bacon and Sweeney 1996, Fast static analysis of C++ virtual function calls). So it
errs towards too much: what is not reached cannot run. What is imported by a name that is put together at run time must be given as a root.
"""

import ast
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_CALLED_BY_OTHERS = frozenset({"forward", "_load_from_state_dict"})
"""Methods that torch calls."""


class _Module:
    """The statements of a file by the names that they bind; imports of our own packages by what they stand for."""

    def __init__(self, name: str, path: Path) -> None:
        self.statements: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}
        self.others: list[ast.stmt] = []
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for statement in _plain(ast.parse(path.read_text(encoding="utf-8"))).body:
            imported = dict(_imported(statement, package))
            self.imports |= imported
            for bound in _bound(statement):
                self.statements.setdefault(bound, []).append(statement)
            if (
                not isinstance(statement, ast.Import | ast.ImportFrom)
                and not _bound(statement)
                and not _for_types(statement)
            ):
                self.others.append(statement)


@cache
def _parsed(name: str, path: Path) -> _Module:
    return _Module(name, path)


class _Plain(ast.NodeTransformer):
    """Takes docstrings and annotations away: neither changes what runs (fields of a class keep theirs)."""

    def _without_docstring(self, node: Any) -> Any:
        self.generic_visit(node)
        kept = [each for each in node.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
        node.body = kept or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = _without_docstring

    def visit_FunctionDef(self, node: Any) -> Any:
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        return self._without_docstring(node)

    visit_AsyncFunctionDef = visit_FunctionDef


def _plain(tree: ast.Module) -> ast.Module:
    plain: ast.Module = _Plain().visit(tree)
    return plain


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return []
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _for_types(statement: ast.stmt) -> bool:
    """Return whether it is `if TYPE_CHECKING:`, which never runs."""
    return (
        isinstance(statement, ast.If) and isinstance(statement.test, ast.Name) and statement.test.id == "TYPE_CHECKING"
    )


def _imported(statement: ast.AST, package: str) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """Yield local name -> (module, name in it; None for the module itself)."""
    if isinstance(statement, ast.ImportFrom):
        base = statement.module or ""
        if statement.level:
            base = ".".join(filter(None, [*package.split(".")[: len(package.split(".")) - statement.level + 1], base]))
        for alias in statement.names:
            yield alias.asname or alias.name, (base, alias.name)
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            if alias.asname:
                yield alias.asname, (alias.name, None)


class _Reached:
    """The definitions that some roots reach."""

    def __init__(self, packages: Mapping[str, Path], besides: Collection[str]) -> None:
        self.packages = packages
        self.besides = frozenset(besides)
        self.found: dict[tuple[str, str], str] = {}
        self._mentioned = set(_CALLED_BY_OTHERS)
        self._waiting: dict[str, list[tuple[str, str, ast.stmt]]] = {}
        self._modules: set[str] = set()

    def module(self, name: str) -> _Module | None:
        package, *rest = name.split(".")
        if package not in self.packages or name in self.besides:
            return None
        base = self.packages[package].joinpath(*rest)
        path = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
        return None if path is None else _parsed(name, path)

    def reach(self, module: str, name: str | None) -> None:
        """Follow one name of a module; None: all of them."""
        held = self.module(module)
        if held is None:
            return
        if module not in self._modules:
            self._modules.add(module)
            for number, statement in enumerate(held.others):
                self._keep(module, f" {number}", statement)
        if name is None:
            for each in held.statements:
                self.reach(module, each)
        elif name in held.statements:
            for number, statement in enumerate(held.statements[name]):
                self._keep(module, f"{name} {number}", statement)
        elif name in held.imports:
            self._follow(*held.imports[name])

    def _follow(self, module: str, name: str | None) -> None:
        if (
            name is not None and self.module(f"{module}.{name}") is None
        ):  # else a module: what is asked of it is followed where it is asked
            self.reach(module, name)

    def _keep(self, module: str, key: str, node: ast.stmt) -> None:
        if (module, key) in self.found:
            return
        self.found[module, key] = ""
        if not isinstance(node, ast.ClassDef):
            self.found[module, key] = ast.unparse(node)
            self._scan(module, node)
            return
        methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        rest = [each for each in node.body if each not in methods]
        head = ast.ClassDef(node.name, node.bases, node.keywords, rest or [ast.Pass()], node.decorator_list)
        self.found[module, key] = ast.unparse(head)
        self._scan(module, head)
        for at, method in enumerate(methods):
            name = method.name
            own = (module, f"{key} {name} {sum(each.name == name for each in methods[:at])}", method)
            if name in self._mentioned or (name.startswith("__") and name.endswith("__")):
                self._keep(*own)
            else:
                self._waiting.setdefault(name, []).append(own)

    def _mention(self, name: str) -> None:
        if name not in self._mentioned:
            self._mentioned.add(name)
            for waiting in self._waiting.pop(name, []):
                self._keep(*waiting)

    def _scan(self, module: str, top: ast.AST) -> None:
        held = self.module(module)
        assert held is not None
        inside = {name: what for node in ast.walk(top) for name, what in _imported(node, module.rpartition(".")[0])}
        for what in inside.values():
            self._follow(*what)
        known = held.imports | inside
        for node in ast.walk(top):
            if isinstance(node, ast.Name):
                self.reach(module, node.id)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                self._mention(node.value)
            elif isinstance(node, ast.Attribute):
                self._mention(node.attr)
                if isinstance(node.value, ast.Name) and node.value.id in known:
                    base, name = known[node.value.id]
                    whole = base if name is None else f"{base}.{name}"
                    if self.module(whole) is not None:
                        self._follow(whole, node.attr)


def definitions_behind(
    packages: Mapping[str, Path], *roots: str, besides: Collection[str] = ()
) -> dict[tuple[str, str], str]:
    """Return (module, definition) -> its code, of all definitions that the roots reach.

    Args:
        packages: name -> its folder.
        roots: "package.module:name", or "package.module" for all of its names.
        besides: modules that are not followed, as what is measured does not ask them.

    Raises:
        KeyError: a root that is not there.
    """
    reached = _Reached(packages, besides)
    for root in roots:
        module, _, name = root.partition(":")
        held = reached.module(module)
        if held is None or (name and name not in held.statements):
            raise KeyError(root)
        reached.reach(module, name or None)
    return reached.found


def version_of_definitions(
    packages: Mapping[str, Path], *roots: str, besides: Collection[str] = (), settings: Any
) -> str:
    """Return a hash of the definitions that the roots reach, and of the settings (JSON)."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for _, code in sorted(definitions_behind(packages, *roots, besides=besides).items()):
        digest.update(code.encode() + b"\0")
    return digest.hexdigest()[:12]
