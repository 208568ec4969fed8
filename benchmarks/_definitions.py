"""What a figure rests on, definition by definition: those functions, classes and constants that the code behind it can reach.

A whole-file hash makes a figure stale whenever a sentence or a neighbour in one of sixty files changes. Here a module counts by the definitions that
are reached from some roots, without docstrings, comments and annotations. Names are followed through imports; of a class those methods and class
variables count whose name is mentioned anywhere in what is reached (rapid type analysis: Bacon and Sweeney 1996, Fast static analysis of C++ virtual
function calls), and those bases that add something to it. So it errs towards too much: what is not reached cannot run. What is imported by a name
that is put together at run time must be given as a root.
"""

import ast
import hashlib
import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks._record import SOURCE
from metamedica import registry

PACKAGES = {"metamedica": SOURCE, "benchmarks": Path(__file__).parent}
IN_STEPS = (
    "metamedica.checkpoints",
    "metamedica.compiled",
    "metamedica.outer_gradient",
    "metamedica.ranks",
    "metamedica.run",
    "metamedica.validation",
)
"""Modules that only a method asks that is trained by steps."""
ON_DISK = ("benchmarks._definitions", "benchmarks._record", "metamedica.storage", "metamedica.predictors.saving")
"""How what was found is kept changes no figure."""
_CALLED_BY_OTHERS = frozenset({"forward", "_load_from_state_dict"})
"""Methods that torch calls."""
_EMPTY = frozenset({"ABC", "Generic"})
"""Bases from elsewhere that bring nothing."""
_BY_TEXT = frozenset({"getattr", "hasattr", "setattr", "attrgetter", "methodcaller"})
"""Functions that take the name of an attribute as a text."""


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
                and not _never_runs(statement)
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


def _never_runs(statement: ast.stmt) -> bool:
    """Return whether it is `if TYPE_CHECKING:`, or what a file does where it is the program."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) in ("TYPE_CHECKING", "__name__ == '__main__'")


def _member(statement: ast.stmt) -> str:
    """Return the name of a statement of a class that counts where it is mentioned: a method or a class variable; "" for others."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return statement.name
    if (
        isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" in ast.unparse(statement.annotation)
    ):
        return statement.target.id
    return ""


def _says_nothing(statement: ast.stmt) -> bool:
    """Return whether it is a method without a body, as abstract ones are, or a variable of a class without a value."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return all(isinstance(each, ast.Pass) for each in statement.body)
    return isinstance(statement, ast.AnnAssign) and statement.value is None


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


@cache
def _code(node: ast.AST) -> str:
    return ast.unparse(node)


@cache
def _nodes(top: ast.AST) -> tuple[ast.AST, ...]:
    """Return those nodes below one that name something."""
    kinds = (ast.Name, ast.Attribute, ast.Call, ast.Import, ast.ImportFrom)
    return tuple(node for node in ast.walk(top) if isinstance(node, kinds))


class _Reached:
    """The definitions that some roots reach."""

    def __init__(self, packages: Mapping[str, Path], besides: Collection[str]) -> None:
        self.packages = packages
        self.besides = frozenset(besides)
        self.found: dict[tuple[str, str], str] = {}
        self._classes: dict[tuple[str, str], ast.ClassDef] = {}
        self._mentioned = set(_CALLED_BY_OTHERS)
        self._waiting: dict[str, list[tuple[str, str, ast.stmt]]] = {}
        self._modules: set[str] = set()
        self._held: dict[str, _Module | None] = {}

    def module(self, name: str) -> _Module | None:
        if name not in self._held:
            self._held[name] = self._found(name)
        return self._held[name]

    def _found(self, name: str) -> _Module | None:
        package, *rest = name.split(".")
        if package not in self.packages or name in self.besides:
            return None
        base = self.packages[package].joinpath(*rest)
        path = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
        return None if path is None else _parsed(name, path)

    def reach(self, module: str, name: str | None) -> None:
        """Follow one name of a module; None: all of them."""
        held = self.module(module)
        if held is None or f"{module}:{name}" in self.besides:
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
        # A module is followed where something is asked of it.
        if name is not None and self.module(f"{module}.{name}") is None:
            self.reach(module, name)

    def _keep(self, module: str, key: str, node: ast.stmt) -> None:
        if (module, key) in self.found:
            return
        self.found[module, key] = ""
        if not isinstance(node, ast.ClassDef):
            self.found[module, key] = _code(node)
            self._scan(module, node)
            return
        members = [each for each in node.body if _member(each)]
        rest = [each for each in node.body if not _member(each) and not isinstance(each, ast.Pass)]
        if not node.decorator_list and all(isinstance(base, ast.Name) and base.id in _EMPTY for base in node.bases):
            rest = [each for each in rest if not _says_nothing(each)]  # an annotation makes no field there
        head = ast.ClassDef(node.name, node.bases, node.keywords, rest or [ast.Pass()], node.decorator_list)
        self._classes[module, key] = head
        self._scan(module, head)
        for at, member in enumerate(members):
            name = _member(member)
            if _says_nothing(member) or f"{module}:{node.name}.{name}" in self.besides:
                continue
            own = (module, f"{key} {name} {sum(_member(each) == name for each in members[:at])}", member)
            if name in self._mentioned or (name.startswith("__") and name.endswith("__")):
                self._keep(*own)
            else:
                self._waiting.setdefault(name, []).append(own)

    def definitions(self) -> dict[tuple[str, str], str]:
        """Return the code of what was reached; of a class without its methods, and without those bases that add nothing."""
        for (module, key), head in self._classes.items():
            bases = [base for base in head.bases if self._adds(module, base)]
            told = ast.ClassDef(head.name, bases, head.keywords, head.body, head.decorator_list)
            self.found[module, key] = ast.unparse(told) if self._has_content(module, key) else ""
        return {where: code for where, code in self.found.items() if code}

    def _has_content(self, module: str, key: str) -> bool:
        head = self._classes[module, key]
        own = not isinstance(head.body[0], ast.Pass) or bool(head.decorator_list)
        return (
            own
            or any(at == module and name.startswith(f"{key} ") for at, name in self.found)
            or any(self._adds(module, base) for base in head.bases)
        )

    def _adds(self, module: str, base: ast.expr) -> bool:
        """Return whether a base of a class brings anything that can run: one from elsewhere always."""
        plain = base.value if isinstance(base, ast.Subscript) else base
        name = plain.id if isinstance(plain, ast.Name) else ""
        held = self.module(module)
        while held is not None and name in held.imports:
            module, found = held.imports[name]
            name, held = found or "", self.module(module)
        if held is None or name not in held.statements:
            return name not in _EMPTY
        key = f"{name} 0"
        return (module, key) not in self._classes or self._has_content(module, key)

    def _mention(self, name: str) -> None:
        if name not in self._mentioned:
            self._mentioned.add(name)
            for waiting in self._waiting.pop(name, []):
                self._keep(*waiting)

    def _scan(self, module: str, top: ast.AST) -> None:
        held = self.module(module)
        assert held is not None
        nodes = _nodes(top)
        inside = {name: what for node in nodes for name, what in _imported(node, module.rpartition(".")[0])}
        for what in inside.values():
            self._follow(*what)
        known = held.imports | inside
        for node in nodes:
            if isinstance(node, ast.Name):
                self.reach(module, node.id)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_TEXT:
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        self._mention(argument.value)
            elif isinstance(node, ast.Attribute):
                self._mention(node.attr)
                if isinstance(node.value, ast.Name) and node.value.id in known:
                    base, name = known[node.value.id]
                    whole = base if name is None else f"{base}.{name}"
                    if self.module(whole) is not None:
                        self._follow(whole, node.attr)


def definitions_behind(
    packages: Mapping[str, Path], *roots: str, besides: Collection[str] = (), uncounted: Collection[str] = ()
) -> dict[tuple[str, str], str]:
    """Return (module, definition) -> its code, of all definitions that the roots reach.

    Args:
        packages: name -> its folder.
        roots: "package.module:name", or "package.module" for all of its names.
        besides: modules, and names as "package.module:name" or "package.module:Class.method", that are not followed, as what is measured does not
            ask them.
        uncounted: modules that are followed and whose own code is left out, as it only hands on what others say.

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
    return {where: code for where, code in reached.definitions().items() if where[0] not in uncounted}


def version_behind(*roots: str, settings: Any, besides: Collection[str] = (), uncounted: Collection[str] = ()) -> str:
    """Return a hash of what roots of the package and of the benchmarks reach, and of settings (JSON); arguments as for `definitions_behind`."""
    return version_of_definitions(definitions_behind(PACKAGES, *roots, besides=besides, uncounted=uncounted), settings)


def averaged_by(method: str) -> tuple[str, ...]:
    """Return the learners that a method averages, which it knows by name only."""
    models = inspect.signature(registry.learner_class(method)).parameters.get("models")
    return () if models is None else tuple(models.default)


def version_of_definitions(found: Mapping[tuple[str, str], str], settings: Any) -> str:
    """Return a hash of definitions and of settings (JSON)."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for _, code in sorted(found.items()):
        digest.update(code.encode() + b"\0")
    return digest.hexdigest()[:12]
