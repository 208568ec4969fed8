"""The language: every mistake in a YAML file is one sentence that names the file and the key, and hostile files are refused early."""

import time
from pathlib import Path

import pytest

from metamedica.data.declared import read_declaration
from metamedica.data.declared.files import inside, read_yaml
from metamedica.errors import FileFormatError, InputError

BASE = "name: a\ntable: a.csv\nlabel: {column: y}\n"
EVENTS = "events: [{table: e.csv, on: k, time: t, value: v, take: {z: "


def _written(folder: Path, text: str) -> Path:
    path = folder / "d.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{BASE}colums: [a]\n", "d.yaml, colums is no key of a declaration; did you mean columns?"),
        (f"{BASE}columns: [{{a: {{schem: {{}}}}}}]\n", "d.yaml, columns.a.schem is no key of .*; did you mean schema?"),
        (f"{BASE}columns: [a, {{a: {{}}}}]\n", "d.yaml, columns: got the column 'a' twice; give each column once"),
        ("name: a\ntable: a.csv\nlabels: {x: {xyz: y}}\n", r"labels\.x\.xyz is no key .*; use one of: above, absent"),
        (
            f"{BASE}missing: {{a: 1}}\n",
            "missing is a mapping and should be a boolean or an integer or a number or a st",
        ),
        ("name: a\ntable: a.csv\n", "^d.yaml: got none of label, labels; give one$"),
        ("table: a.csv\nlabel: {column: y}\n", "^d.yaml, name is not there; give it$"),
        (f"{BASE}kind: binry\n", "kind is 'binry' and should be 'binary', 'multiclass' or 'regression'; mend it"),
        (f"{BASE}smallest: {{cases: few}}\n", r"smallest\.cases is 'few' and should be an integer; mend it"),
        (f"{BASE}joins: [{{table: b.csv}}]\n", r"joins\.0\.on is not there; give it"),
        (f"{BASE}joins: [{{table: b.csv, on: {{a: b, c: d}}}}]\n", r"joins\.0\.on: got 2 pairs of keys; give one"),
        (f"{BASE}exclude: [{{column: a, in: [1]}}]\n", r"exclude\.0\.because is not there; give it"),
        (f"{BASE}exclude: [{{column: a, because: too old}}]\n", r"exclude\.0: got none of in, not_in, above"),
        ("name: a\ntable: a.csv\nlabel: {column: y, in: 1, above: 2}\n", "label: got in and above; give one of them"),
        ("name: a\ntable: a.csv\nlabel: {in: 1}\n", "label: got column and event, or neither; give one of them"),
        (f"{BASE}{EVENTS}{{how: frist}}}}}}]\n", r"take\.z\.how is 'frist' and should be 'last', 'first', .*; mend it"),
        (
            f"{BASE}{EVENTS}{{how: last, window: {{hours: 4}}}}}}}}]\n",
            "^d.yaml: got a window.* and no index; give index",
        ),
        (
            f"{BASE}{EVENTS}{{how: last, window: {{hours: -4}}}}}}}}]\n",
            r"window\.hours is -4 and should be greater than 0",
        ),
        (
            f"{BASE}{EVENTS}{{how: any, window: {{days: 1}}, future: any}}}}}}]\n",
            "got window and future; give one of them",
        ),
        (
            f"{BASE}index: {{time: t, plus: {{hours: 1, days: 2}}}}\n",
            r"index\.plus: got hours and days of hours, days, y",
        ),
        (f"{BASE}index: {{codes: A}}\n", "got index with codes; they are for source: meds"),
        (
            "name: a\nsource: meds\nlabel: {column: y}\n",
            "got source: meds and no index with codes; say which event",
        ),
        ("name: a\nlabel: {column: y}\n", "got no table; name the file with a row a case under the key table"),
        (f"{BASE}drop: [x]\n", "got drop, .*; drop goes with other_columns: keep"),
        (
            f"{BASE}kind: regression\nsmallest: {{per_class: 2}}\n",
            "per_class for kind: regression, which has no classes",
        ),
        (
            "name: a\ntable: b\nkind: regression\nlabel: {column: y, above: 1}\n",
            "a rule that gives two classes for kind",
        ),
        (f"{BASE}colums: 1\nkind: binry\n", r"\(2 mistakes in all\)$"),
        ("name: a\nname: b\n", r"^d.yaml, line 2 gives the key 'name' again \(first in line 1\); give it once$"),
        (
            f"{BASE}columns:\n  - a: {{missing: [1]}}\n  - b: {{missing: [1], missing: [2]}}\n",
            "line 6 gives the key 'miss",
        ),
        (f"{BASE}? [a]\n: b\n", "line 4 has a list or mapping as a key; give a plain name"),
        ("name: [", "^d.yaml, line 1 is not YAML .*; mend it$"),
        ("name: \x01", r"^d.yaml is not YAML \(a character that YAML does not have\); mend it$"),
        ("", "d.yaml holds nothing; give a mapping of keys to values"),
        ("- a", "d.yaml holds a list; give a mapping of keys to values"),
        (
            "name: !!python/object/apply:os.getcwd []\n",
            r"line 1 has the tag tag:yaml\.org,2002:python/object/.*; leave it out",
        ),
        (f"{BASE}time: !!timestamp 2031-99-99\n", r"line 4 has the tag tag:yaml\.org,2002:timestamp; leave it out"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_key(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(FileFormatError, match=sentence) as caught:
        read_declaration(_written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_yaml_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    begin = time.process_time()
    with pytest.raises(FileFormatError, match=r"d.yaml, line 2 repeats a part by \*a0; write the part out"):
        read_yaml(_written(tmp_path, bomb))
    with pytest.raises(FileFormatError, match=r"line 1 nests lists and mappings more than 30 deep; make it flat"):
        read_yaml(_written(tmp_path, "[" * 100_000))
    with pytest.raises(FileFormatError, match=r"has 1,000,010 bytes and a declaration at most 1,000,000; shorten it"):
        read_yaml(_written(tmp_path, "a: " + "b" * 1_000_007))
    assert time.process_time() - begin < 2


def test_a_file_that_is_absent_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileFormatError, match=r"none\.yaml' cannot be read \(No such file or directory\); check the path"
    ):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "d.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(FileFormatError, match=r"d.yaml is not UTF-8 text; save it as UTF-8"):
        read_yaml(tmp_path / "d.yaml")


def test_words_and_dates_stay_texts_and_only_plain_numbers_are_numbers(tmp_path: Path) -> None:
    text = "a: [yes, no, on, NO, 2031-05-20, 007, 1_000, 12:30:00, -1, 1.5, 1e3, true, null, ~]\n"
    assert read_yaml(_written(tmp_path, text))["a"] == [
        "yes", "no", "on", "NO", "2031-05-20", "007", "1_000", "12:30:00", -1, 1.5, 1000.0, True, None, None,
    ]  # fmt: skip


def test_a_variant_takes_the_place_of_keys_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, f"{BASE}task: ward\nvariants: {{region: {{task: region}}, bad: {{tusk: x}}}}\n")
    assert (read_declaration(path).task, read_declaration(path, variant="region").task) == ("ward", "region")
    with pytest.raises(FileFormatError, match=r"d.yaml has no variant 'city'; choose one of: region, bad"):
        read_declaration(path, variant="city")
    with pytest.raises(
        FileFormatError, match=r"d.yaml, variant bad, tusk is no key of a declaration; did you mean task?"
    ):
        read_declaration(path, variant="bad")
    with pytest.raises(FileFormatError, match=r"d.yaml has no variant 'x'; it has none"):
        read_declaration(_written(tmp_path, BASE), variant="x")


@pytest.mark.parametrize("name", ["../a.csv", "x/../../a.csv", "/etc/passwd", "C:/a.csv", "x\\a.csv", "a\0.csv"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"demo names the path .*; give one below the root folder, without \.\. and"):
        inside(tmp_path, name, where="demo")


def test_a_link_is_followed_and_may_not_lead_outside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.csv").write_text("a\n1\n", encoding="utf-8")
    (root / "in.csv").write_text("a\n1\n", encoding="utf-8")
    (root / "out").symlink_to(tmp_path / "secret.csv")
    (root / "own").symlink_to(root / "in.csv")
    assert inside(root, "own", where="demo") == (root / "in.csv").resolve()
    with pytest.raises(
        InputError, match=r"demo names 'out', which is a link that leaves the root folder; put the file"
    ):
        inside(root, "out", where="demo")
