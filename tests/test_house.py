"""The rules of the house, kept by tests: what is written in CONTRIBUTING.md is so in every file, and a broken rule is found."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import metamedica
from metamedica import registry

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "metamedica"
TESTS = ROOT / "tests"
DOCUMENTS = ("README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "decisions/*.md")
MOST_LINES = 400
MOST_NAMES = 12
FEWEST_WORDS = 4  # "test" and the shortest sentence: who, does, what
HOMES = ("home", "root", "work", "tmp")
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def _python(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts)


def _called(node: ast.Call) -> str:
    """Return what is called, as it is written: `print`, `os.system`, `torch.load`."""
    return ast.unparse(node.func)


def _keyword(node: ast.Call, name: str) -> object:
    """Return the constant a keyword has, None where it is not given, and Ellipsis where it is no constant."""
    for each in node.keywords:
        if each.arg == name:
            return each.value.value if isinstance(each.value, ast.Constant) else ...
    return None


# The checks: each takes a folder and returns what breaks the rule there, one line an offender.


def long_files(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder)}: {lines} lines"
        for path in _python(folder)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    ]


def nameless_modules(folder: Path) -> list[str]:
    vague = re.compile(r"_*(utils?|helpers?|common|misc)")
    every = [*_python(folder), *(path for path in folder.rglob("*") if path.is_dir())]
    return sorted(str(path.relative_to(folder)) for path in every if vague.fullmatch(path.stem))


def prints(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder)}:{node.lineno}"
        for path in _python(folder)
        if path.relative_to(folder).parts[0] != "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _called(node) == "print"
    ]


def dangers(folder: Path) -> list[str]:
    """Return what would unpickle or run something that came as data."""
    found = []
    for path in _python(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            what = _danger(node)
            if what:
                found.append(f"{path.relative_to(folder)}:{getattr(node, 'lineno', 0)}: {what}")
    return found


def _danger(node: ast.AST) -> str:
    modules: set[str] = set()
    if isinstance(node, ast.Import):
        modules = {alias.name.split(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        modules = {(node.module or "").split(".")[0]}
    if modules & PICKLERS:
        return f"imports {', '.join(sorted(modules & PICKLERS))}"
    if isinstance(node, ast.ImportFrom) and node.module == "os" and {a.name for a in node.names} & {"system", "popen"}:
        return "imports os.system or os.popen"
    if not isinstance(node, ast.Call):
        return ""
    called = _called(node)
    if called in {"eval", "exec", "os.system", "os.popen"}:
        return called
    if called == "torch.load" and _keyword(node, "weights_only") is not True:
        return "torch.load without weights_only=True"
    if _keyword(node, "allow_pickle") not in (None, False):
        return "allow_pickle"
    if _keyword(node, "shell") not in (None, False):
        return "shell"
    return ""


def short_test_names(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder)}: {node.name}"
        for path in _python(folder)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(re.findall(r"[^_]+", node.name)) < FEWEST_WORDS
    ]


def repeated_base_names(folder: Path) -> list[str]:
    names = Counter(path.name for path in _python(folder) if path.name.startswith("test_"))
    return [name for name, count in names.items() if count > 1]


def broken_links(folder: Path) -> list[str]:
    found = []
    for path in _documents(folder):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            place = target.split("#")[0]
            if place and "://" not in target and not target.startswith("mailto:"):
                whole = (path.parent / place).resolve()
                if not whole.exists() or not whole.is_relative_to(folder.resolve()):
                    found.append(f"{path.relative_to(folder)}: {target}")
    return found


def _documents(folder: Path) -> list[Path]:
    return [path for pattern in DOCUMENTS for path in sorted(folder.glob(pattern))]


def unknown_make_targets(folder: Path) -> list[str]:
    """Return the `make` targets that documents show as code, inline, fenced or indented, and the Makefile lacks."""
    makefile = (folder / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.M))
    command = r"(?:[A-Z]+=\S+ |\$ )*make ([a-z][a-z-]*)"
    found = []
    for path in [*_documents(folder), *_python(folder / "benchmarks")]:
        text = path.read_text(encoding="utf-8")
        fenced = re.findall(r"^```.*?^```", text, flags=re.M | re.S)
        named = re.findall(rf"`{command}|^(?: {{4,}}|\t){command}", text, flags=re.M)
        named += [(target, "") for block in fenced for target in re.findall(rf"^{command}", block, flags=re.M)]
        every = dict.fromkeys(inline or indented for inline, indented in named)
        found += [f"{path.relative_to(folder)}: make {target}" for target in every if target not in targets]
    return found


def private_places(folder: Path, names: list[str]) -> list[str]:
    """Return the lines of files that name a folder of one machine or the address of a package index."""
    homes = re.compile(rf"(?<![\w.~<>:])/(?:{'|'.join(HOMES)})/\w")
    hosts = ("pythonhosted", "anaconda.org", "npmjs", "artifactory", "jfrog", "nexus", "devpi", "ghcr.io", "docker.io")
    index = re.compile(rf"--(?:extra-)?index-url|PIP_INDEX|pypi\.org/(?!project/)|\b(?:{'|'.join(hosts)})\b")
    found = []
    for name in names:
        path = folder / name
        if path.suffix in {".svg", ".safetensors"} or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if homes.search(line) or (index.search(line) and name != _HERE):
                found.append(f"{name}:{number}")
    return found


_HERE = Path(__file__).relative_to(ROOT).as_posix()


def untested(names: list[str], folder: Path) -> list[str]:
    """Return the names without a file `test_<name>.py` in a folder of tests."""
    held = {path.stem for path in _python(folder)} if folder.is_dir() else set()
    return [name for name in names if f"test_{name}" not in held]


def commands_run(folder: Path) -> set[str]:
    """Return the commands that tests run: the first words given to `run` or `refused`."""
    return {
        node.args[0].value
        for path in _python(folder)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _called(node) in {"run", "refused"} and node.args
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    }


def _modules(room: str) -> list[str]:
    return [path.stem for path in sorted((SOURCE / room).glob("*.py")) if path.stem != "__init__"]


# The rules, held against this repository.


@pytest.mark.parametrize(
    ("check", "folder"),
    [
        (long_files, SOURCE),
        (nameless_modules, SOURCE),
        (nameless_modules, TESTS),
        (prints, SOURCE),
        (dangers, SOURCE),
        (short_test_names, TESTS),
        (repeated_base_names, TESTS),
        (broken_links, ROOT),
        (unknown_make_targets, ROOT),
    ],
    ids=lambda value: value.__name__ if callable(value) else value.name,
)
def test_nothing_in_the_repository_breaks_the_rule(check: Callable[[Path], list[str]], folder: Path) -> None:
    assert check(folder) == []


def test_no_tracked_file_names_a_private_folder_or_a_package_index() -> None:
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of tracked files")
    names = [name for name in done.stdout.split("\0") if name]
    assert "pyproject.toml" in names
    assert private_places(ROOT, names) == []


@pytest.mark.parametrize("room", ["encoders", "functional", "learners"])
def test_every_file_of_the_room_has_its_test_file(room: str) -> None:
    assert untested(_modules(room), TESTS / room) == []


def test_every_data_module_has_its_test_file() -> None:
    assert untested(_modules("data"), TESTS / "data") == []


def test_every_command_has_a_test_file_or_is_run_by_another_ones() -> None:
    commands = [name for name in _modules("cli") if not name.startswith("_")]
    assert "report" in commands
    missing = untested(commands, TESTS / "cli")
    assert set(missing) <= commands_run(TESTS / "cli")


@pytest.mark.parametrize("name", registry.names("modalities"))
def test_every_modality_has_a_folder_of_tests_or_a_test_file(name: str) -> None:
    folder = TESTS / "modalities" / name
    assert list(folder.glob("test_*.py")) or untested([name], TESTS / "modalities") == []


@pytest.mark.parametrize("name", registry.names("applications"))
def test_every_application_is_imported_by_a_test_of_applications(name: str) -> None:
    imported = {
        alias.name
        for path in _python(TESTS / "applications")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("metamedica.applications")
        for alias in [*node.names, ast.alias((node.module or "").split(".")[-1])]
    }
    assert name in imported


def test_tests_are_plain_folders_without_packages() -> None:
    assert list(TESTS.rglob("__init__.py")) == []


def test_the_front_door_has_few_names_and_each_says_what_it_is() -> None:
    assert len(metamedica.__all__) <= MOST_NAMES
    assert metamedica.__all__ == sorted(metamedica.__all__)
    assert {*metamedica.__all__, "__version__"} == set(dir(metamedica))
    for name in metamedica.__all__:
        told = getattr(metamedica, name).__dict__.get("__doc__") or getattr(metamedica, name).__doc__
        assert told, name
        assert not told.startswith(f"{name}("), f"{name} has the docstring that dataclasses write"


def test_a_name_that_is_not_there_gives_those_that_are() -> None:
    with pytest.raises(
        AttributeError, match=r"module 'metamedica' has no attribute 'fit'; it has: Evaluation, .*evaluate"
    ):
        _ = metamedica.fit


@pytest.mark.parametrize("name", registry.names("learners"))
def test_every_paper_can_be_found_by_arxiv_or_doi(name: str) -> None:
    link = registry.learner_class(name).paper.link
    assert re.fullmatch(
        r"(arXiv:|https://arxiv\.org/abs/)\d{4}\.\d{4,5}|(doi:|https://doi\.org/)10\.\d{4,9}/\S+", link
    ), link


def _alone(tmp_path: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an empty folder with an empty home; both must stay empty."""
    for name in ("here", "own"):
        (tmp_path / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "METAMEDICA_"))}
    environment = {**kept, "HOME": str(tmp_path / "own"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:metamedica", "-c", program],
        cwd=tmp_path / "here",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert [each.relative_to(tmp_path).as_posix() for each in sorted(tmp_path.rglob("*"))] == ["here", "own"]
    return done


def test_importing_the_package_loads_nothing_heavy_says_nothing_and_makes_no_file(tmp_path: Path) -> None:
    heavy = ("torch", "rdkit", "pandas", "numpy", "sklearn", "scipy", "pyarrow", "matplotlib", "typer")
    program = f"import sys, metamedica; sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    done = _alone(tmp_path, program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


_EACH = """
import importlib, importlib.util, logging, os, sys, traceback, warnings
for heavy in ("torch", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.ensemble", "sklearn.metrics", "jaxtyping",
              "safetensors.torch", "typer", "rich.console", "jinja2", "pooch", "rdkit.Chem"):
    if importlib.util.find_spec(heavy.split(".")[0]):
        importlib.import_module(heavy)
settings = dict(os.environ), list(logging.getLogger().handlers), list(warnings.filters), sys.getrecursionlimit()
bad = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            importlib.import_module(name)
            now = dict(os.environ), list(logging.getLogger().handlers), list(warnings.filters), sys.getrecursionlimit()
            code = 0 if now == settings else 2
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    bad += [f"{name}: {code}"] if code else []
sys.exit("\\n".join(bad) or 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_every_module_can_be_imported_first_and_changes_nothing_global(tmp_path: Path) -> None:
    names = [
        ".".join(("metamedica", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for path in _python(SOURCE)
    ]
    assert len(names) > 50
    done = _alone(tmp_path, f"import sys; sys.argv[1:] = {names!r}\n{_EACH}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# The checks find what they are there to find.


@pytest.mark.parametrize(
    ("check", "name", "text", "offender"),
    [
        (long_files, "a.py", "x = 1\n" * (MOST_LINES + 1), "a.py: 401 lines"),
        (nameless_modules, "room/_utils.py", "", "room/_utils.py"),
        (nameless_modules, "helpers/a.py", "", "helpers"),
        (prints, "room/a.py", "def f():\n    print('x')\n", "room/a.py:2"),
        (dangers, "a.py", "from pickle import loads\n", "a.py:1: imports pickle"),
        (dangers, "a.py", "def f():\n    import joblib.x\n", "a.py:2: imports joblib"),
        (dangers, "a.py", "torch.load(p)\n", "a.py:1: torch.load without weights_only=True"),
        (dangers, "a.py", "torch.load(p, weights_only=False)\n", "a.py:1: torch.load without weights_only=True"),
        (dangers, "a.py", "np.load(p, allow_pickle=True)\n", "a.py:1: allow_pickle"),
        (dangers, "a.py", "eval('1')\n", "a.py:1: eval"),
        (dangers, "a.py", "exec(x)\n", "a.py:1: exec"),
        (dangers, "a.py", "os.system('ls')\n", "a.py:1: os.system"),
        (dangers, "a.py", "from os import system\n", "a.py:1: imports os.system or os.popen"),
        (dangers, "a.py", "subprocess.run(x, shell=flag)\n", "a.py:1: shell"),
        (short_test_names, "test_a.py", "def test_it_works():\n    pass\n", "test_a.py: test_it_works"),
        (short_test_names, "test_a.py", "class T:\n    def test___x_(self): ...\n", "test_a.py: test___x_"),
        (broken_links, "README.md", "[a](b.md) [c](https://d) [e](#f)", "README.md: b.md"),
        (broken_links, "decisions/1.md", "[a](../../outside.md)", "decisions/1.md: ../../outside.md"),
    ],
)
def test_a_planted_offender_is_found(
    tmp_path: Path, check: Callable[[Path], list[str]], name: str, text: str, offender: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert check(tmp_path) == [offender]


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (prints, "'print(1)'  # print(2)\nlog.print(3)\n"),
        (
            dangers,
            "'''import pickle, eval(x)'''\nmodel.eval()\ntorch.load(p, weights_only=True)\nrun(x, shell=False)\n",
        ),
        (short_test_names, "def test_a_name_that_says_it():\n    pass\ndef tested():\n    pass\n"),
        (long_files, "x = 1\n" * MOST_LINES),
    ],
)
def test_what_only_looks_like_an_offence_is_let_be(
    tmp_path: Path, check: Callable[[Path], list[str]], text: str
) -> None:
    (tmp_path / "a.py").write_text(text, encoding="utf-8")
    assert check(tmp_path) == []


def test_printing_is_for_the_command_line_only(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "a.py").write_text("print(1)\n", encoding="utf-8")
    assert prints(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        *((f"at /{home}/me/data", True) for home in HOMES),
        (f'open("/{HOMES[0]}/me")', True),
        ("pip install --extra-" + "index-url x", True),
        ("https://files.python" + "hosted.org/a", True),
        ("https://pypi" + ".org/simple/a", True),
        ("https://pypi.org/project/a", False),
        (f"https://host/{HOMES[2]}/a and docs/{HOMES[3]}/b and ./{HOMES[0]}/c and ~/{HOMES[2]}/d", False),
        (f"/{HOMES[0]}", False),
    ],
)
def test_private_folders_and_package_indexes_are_told_from_other_paths(tmp_path: Path, line: str, found: bool) -> None:
    (tmp_path / "notes.md").write_text(f"first\n{line}\n", encoding="utf-8")
    (tmp_path / "plot.svg").write_text(line, encoding="utf-8")
    assert private_places(tmp_path, ["notes.md", "plot.svg", "gone.md"]) == (["notes.md:2"] if found else [])


def test_a_make_target_that_is_not_there_is_found_and_prose_is_not(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("test: x\n\tpytest\n", encoding="utf-8")
    lines = [
        "make sure of it, or make do",
        "    make test",
        "    F=1 make tea",
        "`make bread`",
        "```bash",
        "make salad",
        "```",
    ]
    (tmp_path / "README.md").write_text("\n".join(lines), encoding="utf-8")
    expected = [f"README.md: make {target}" for target in ("bread", "salad", "tea")]
    assert sorted(unknown_make_targets(tmp_path)) == expected


def test_a_command_counts_as_run_only_where_it_is_the_first_word(tmp_path: Path) -> None:
    text = "run('fit', 'adapt')\nrefused(name)\nsay('demo')\nrun()\n"
    (tmp_path / "test_a.py").write_text(text, encoding="utf-8")
    assert commands_run(tmp_path) == {"fit"}


def test_a_module_without_a_test_file_and_a_repeated_name_are_found(tmp_path: Path) -> None:
    for name in ("one/test_a.py", "two/test_a.py", "two/test_b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert untested(["a", "c"], tmp_path / "one") == ["c"]
    assert untested(["a"], tmp_path / "three") == ["a"]
    assert repeated_base_names(tmp_path) == ["test_a.py"]
