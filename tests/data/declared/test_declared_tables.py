"""Declared tables: values, joins, labels, tasks and patients as they are declared, and what does not fit told with its row."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metamedica.data.collection import TaskCollection
from metamedica.data.declared import Declared, read_declaration, read_declared
from metamedica.errors import FileFormatError, InputError, TaskError

Declare = Callable[..., Declared]

PATIENTS = """id,person,ward,age,sex,sugar,code,out,note
1,p1,east,50,f,5.5,007,dead,
2,p2,east,> 89,m,-1,011,alive,x
3,p3,west,40,f,-1.0,007,alive,
4,p3,west,41,f,7,012,dead,
5,p4,west,60,?,8,012,,
"""
A = {"a.csv": PATIENTS}
LABEL = "label: {column: out, positive: dead, absent: drop}\n"


def _column(found: Declared, name: str) -> list[object]:
    return [None if value is None or value != value else value for value in found.frame[name]]


def test_cells_become_what_is_declared_and_what_is_left_out_is_counted(declare: Declare) -> None:
    found = declare(
        "about: Do they die?\ncase: id\ntask: ward\ngroup: person\nunit: u\norigin: here\n"
        "columns:\n"
        "  - years: {from: age, replace: {'> 89': 90}, schema: {type: numeric, unit: years}}\n"
        "  - sex: {missing: ['?'], schema: {sensitive: true}}\n"
        "  - sugar: {missing: -1}\n"
        "  - code\n" + LABEL,
        A,
    )
    assert list(found.frame.columns) == ["years", "sex", "sugar", "code", "case", "task", "group", "label"]
    assert found.columns == ("years", "sex", "sugar", "code")
    assert _column(found, "years") == [50, 90, 40, 41]
    assert found.frame["years"].dtype == found.frame["sugar"].dtype == np.float64
    assert _column(found, "sugar") == [5.5, None, None, 7]  # -1 and -1.0 are one declared number
    assert _column(found, "code") == ["007", "011", "007", "012"]  # a leading zero makes it a code
    assert _column(found, "case") == ["1", "2", "3", "4"]
    assert _column(found, "label") == [1, 0, 0, 1]
    assert _column(found, "task") == ["east", "east", "west", "west"]
    assert found.left_out == {"without a label": 1}
    assert found.schema == {"years": {"type": "numeric", "unit": "years"}, "sex": {"sensitive": True}}
    assert list(found.frame.index) == [2, 3, 4, 5]  # as a spreadsheet counts
    assert (found.name, found.about, found.origin) == ("demo", "Do they die?", "here")
    assert found.roles() == {
        "case": ["years", "sex", "sugar", "code"],
        "target": "label",
        "task": "task",
        "group": "group",
        "kind": "binary",
        "unit": "u",
        "positive": "1",
        "schema": found.schema,
        "name": None,
    }


def test_a_declaration_that_describes_no_column_leaves_types_to_be_inferred(declare: Declare) -> None:
    found = declare(f"case: id\ncolumns: [sugar: {{missing: -1}}]\n{LABEL}", A)
    assert found.roles()["schema"] is None
    tasks = TaskCollection.from_table(found.frame, modality="tables", **found.roles())
    assert tasks.reader().settings()["schema"][0][0] == "sugar"


def test_other_columns_are_kept_without_those_that_have_a_role(declare: Declare) -> None:
    found = declare(
        f"case: id\ntask: ward\ngroup: person\nother_columns: keep\ndrop: note\ncolumns: [sugar: {{missing: -1}}]\n{LABEL}",
        A,
    )
    assert found.columns == ("sugar", "age", "sex", "code")
    assert _column(found, "sex") == ["f", "m", "f", "f"]


def test_the_sources_are_read_alike_plain_packed_and_as_parquet(declare: Declare, tmp_path: Path) -> None:
    plain = declare(f"columns: [age, sugar]\n{LABEL}", A)
    frame = pd.read_csv(tmp_path / "a.csv", dtype=str)
    frame.to_csv(tmp_path / "a.tsv.gz", sep="\t", index=False)
    frame.astype({"sugar": float}).to_parquet(tmp_path / "a.parquet")
    text = (tmp_path / "d.yaml").read_text(encoding="utf-8")
    for name in ("a.tsv.gz", "a.parquet"):
        (tmp_path / "d.yaml").write_text(text.replace("a.csv", name), encoding="utf-8")
        other = read_declared(tmp_path / "d.yaml").frame.drop(columns="case").reset_index(drop=True)
        pd.testing.assert_frame_equal(other, plain.frame.drop(columns="case").reset_index(drop=True))


@pytest.mark.parametrize(
    ("rule", "labels"),
    [
        ("{column: out, positive: dead, absent: drop}", [1, 0, 0, 1]),
        ("{column: out, in: [alive], absent: drop}", [0, 1, 1, 0]),
        ("{column: out, in: dead, missing: alive, absent: drop}", [1, 1]),
        ("{column: sugar, above: 5.5}", [0, 0, 0, 1, 1]),
        ("{column: sugar, at_least: 5.5}", [1, 0, 0, 1, 1]),
        ("{column: sugar, below: 7}", [1, 1, 1, 0, 0]),
        ("{column: sugar, at_most: 7}", [1, 1, 1, 1, 0]),
        ("{column: sugar, at_most: 7, missing: -1, absent: drop}", [1, 1, 0]),
    ],
)
def test_a_label_rule_gives_zero_or_one_and_never_one_for_a_missing_cell(
    declare: Declare, rule: str, labels: list[int]
) -> None:
    assert _column(declare(f"columns: [code]\nlabel: {rule}\n", A), "label") == labels


def test_a_regression_and_a_multiclass_task_keep_their_values(declare: Declare) -> None:
    found = declare(
        "columns: [code]\nkind: regression\nunit: mmol/L\nlabel: {column: sugar, missing: -1, absent: drop}\n", A
    )
    assert (_column(found, "label"), found.kind, found.unit, found.positive) == (
        [5.5, 7, 8],
        "regression",
        "mmol/L",
        None,
    )
    many = declare("columns: [age]\nkind: multiclass\nlabel: {column: code}\n", A)
    assert _column(many, "label") == ["007", "011", "007", "012", "012"]


def test_several_labels_are_tasks_of_the_same_cases_at_each_site(declare: Declare) -> None:
    text = (
        "case: id\ncolumns: [sex]\ngroup: id\ngroup_in_several_tasks: keep\nlabels:\n"
        "  death: {column: out, positive: dead, absent: drop}\n  old: {column: code, in: ['012']}\n"
    )
    found = declare(text, A)
    assert found.frame.groupby("task").size().to_dict() == {"death": 4, "old": 5}
    assert found.left_out == {"without a label of death": 1}
    sited = declare(f"{text}task: ward\n", A)
    assert sited.frame.groupby("task")["label"].agg(list).to_dict() == {
        "death at east": [1, 0], "death at west": [0, 1], "old at east": [0, 0], "old at west": [0, 1, 1],
    }  # fmt: skip


def test_a_horizon_makes_those_who_left_early_unknown(declare: Declare) -> None:
    rows = "x,days,state\n1,10,2\n2,400,2\n3,10,0\n4,365,0\n5,400,1\n6,,2\n7,10,\n"
    rule = "label: {event: {column: state, in: [2], duration: days, horizon: 365}, absent: drop}\n"
    found = declare(f"columns: [x]\n{rule}", {"a.csv": rows})
    assert dict(zip(found.frame["x"], found.frame["label"], strict=True)) == {1: 1, 2: 0, 4: 0, 5: 0}
    with pytest.raises(InputError, match=r"a.csv, row 4, columns 'state' and 'days': the label is not known \(3 such"):
        declare(f"columns: [x]\n{rule.replace(', absent: drop', '')}", {"a.csv": rows})


def test_an_event_within_days_counts_from_the_index_time(declare: Declare) -> None:
    rows = (
        "x,start,event,seen\n"
        "1,2031-01-01,2031-01-31,2031-02-01\n"  # the thirtieth day
        "2,2031-01-01,2031-02-01,2031-02-01\n"  # after it
        "3,2031-01-01,,2031-03-01\n"  # seen long enough without
        "4,2031-01-01,,2031-01-20\n"  # not seen long enough
        "5,2031-01-01,2031-01-01,2031-03-01\n"  # nothing to predict
        "6,2031-01-01 12:00:00+02:00,2031-01-01T10:30:00Z,2031-01-01\n"  # half an hour later, told in two zones
    )
    found = declare(
        "index: {time: start}\ncolumns: [x]\n"
        "label: {column: event, within: {span: {days: 30}, until: seen}, absent: drop}\n",
        {"a.csv": rows},
    )
    assert dict(zip(found.frame["x"], found.frame["label"], strict=True)) == {1: 1, 2: 0, 3: 0, 6: 1}
    assert found.left_out == {"the event came before the index time": 1, "without a label": 1}


def test_rows_are_excluded_for_a_stated_reason_one_after_the_other(declare: Declare) -> None:
    found = declare(
        "columns: [sex]\nexclude:\n"
        "  - {column: age, in: ['> 89'], because: too old}\n"
        "  - {column: sex, not_in: [f], because: not a woman}\n"
        "  - {column: sugar, above: 6, because: sugar too high}\n" + LABEL,
        A,
    )
    assert found.left_out == {
        "too old (exclusion 1)": 1, "not a woman (exclusion 2)": 1, "sugar too high (exclusion 3)": 1,
    }  # fmt: skip
    assert len(found.frame) == 2
    with pytest.raises(
        TaskError, match=r"demo has no case left \(all of them \(exclusion 1\): 5\); declare less to be"
    ):
        declare(f"columns: [sex]\nexclude: [{{column: id, above: 0, because: all of them}}]\n{LABEL}", A)


def test_another_table_is_joined_by_its_key_and_never_multiplies_cases(declare: Declare) -> None:
    wards = "name,beds,ward\neast,10,1\nwest,-1,2\n"
    text = "case: id\ncolumns: [beds]\njoins: [{table: w.csv, on: {ward: name}, take: [beds], missing: [-1]}]\n" + LABEL
    assert _column(declare(text, {**A, "w.csv": wards}), "beds") == [10, 10, None, None]
    with pytest.raises(
        InputError, match=r"w.csv, row 4 has the 'name' 'east' again, so that cases would be multiplied"
    ):
        declare(text, {**A, "w.csv": wards + "east,11,3\n"})
    one = text.replace("take", "where: {ward: [1]}, take")
    assert _column(declare(one, {**A, "w.csv": wards + "east,11,3\n"}), "beds") == [10, 10, None, None]
    with pytest.raises(InputError, match=r"w.csv has no row whose 'ward' is 9; mend where in demo"):
        declare(text.replace("take", "where: {ward: [9]}, take"), {**A, "w.csv": wards})
    with pytest.raises(
        InputError, match=r"w.csv brings a column 'ward' that is there already; rename it: take: {ward:"
    ):
        declare(text.replace("take: [beds], ", ""), {**A, "w.csv": wards})
    with pytest.raises(FileFormatError, match=r"w.csv has no column 'bed'; name one of: name, beds, ward"):
        declare(text.replace("[beds], m", "[bed], m"), {**A, "w.csv": wards})


def test_a_case_without_a_partner_is_kept_dropped_or_refused(declare: Declare) -> None:
    text = "columns: [beds]\njoins: [{table: w.csv, on: ward, absent: keep}]\n" + LABEL
    files = {**A, "w.csv": "ward,beds\neast,10\n"}
    assert _column(declare(text, files), "beds") == [10, 10, None, None]
    dropped = declare(text.replace("keep", "drop"), files)
    assert (_column(dropped, "beds"), dropped.left_out) == ([10, 10], {"without a row in w.csv": 3})
    with pytest.raises(
        InputError, match=r"a.csv, row 4 has the 'ward' 'west', which w.csv lacks \(3 such cases\); declare"
    ):
        declare(text.replace("keep", "refuse"), files)
    with pytest.raises(InputError, match=r"no case of a.csv has a row in w.csv by 'ward'; check the key"):
        declare(text.replace("keep", "drop"), {**A, "w.csv": "ward,beds\nnorth,10\n"})


def test_a_patient_of_two_tasks_is_refused_or_stays_in_the_first(declare: Declare) -> None:
    rows = "who,site,when,x,y\na,n,3,1,0\na,s,1,2,1\nb,n,1,3,1\nb,n,2,4,0\n"
    text = "columns: [x]\ntask: site\ngroup: who\ntime: when\nlabel: {column: y, positive: 1}\n"
    with pytest.raises(
        InputError, match=r"demo: who 'a' is in the tasks 's' and 'n' \(1 such cases\), so that a split"
    ):
        declare(text, {"a.csv": rows})
    first = declare(f"{text}group_in_several_tasks: first\n", {"a.csv": rows})
    assert _column(first, "x") == [2, 3, 4]
    assert first.left_out == {"cases of a patient who is in an earlier task": 1}
    assert len(declare(f"{text}group_in_several_tasks: keep\n", {"a.csv": rows}).frame) == 4
    assert (first.group, first.time) == ("group", "time")
    with pytest.raises(InputError, match=r"a.csv, row 3 has no 'who' \(1 such cases\), so that a patient could stand"):
        declare(text, {"a.csv": rows.replace("a,s", ",s")})


def test_small_tasks_tasks_of_one_class_and_cases_without_a_task_are_counted(declare: Declare) -> None:
    rows = "site,x,y\nn,1,0\nn,2,1\nn,3,0\ns,4,0\ns,5,0\ns,6,0\nw,7,1\nw,8,0\n,9,1\n"
    text = "columns: [x]\ntask: site\nlabel: {column: y, positive: 1}\nsmallest: {cases: 3, per_class: 1}\n"
    found = declare(text, {"a.csv": rows})
    assert _column(found, "x") == [1, 2, 3]
    assert found.left_out == {
        "without a task": 1,
        "tasks with fewer than 3 cases or 1 of a class": 2,
        "cases of tasks with fewer than 3 cases or 1 of a class": 5,
    }
    with pytest.raises(
        TaskError, match=r"demo has no case left .*cases of tasks with fewer than 4 cases or 1 of a class: 8"
    ):
        declare(text.replace("cases: 3", "cases: 4"), {"a.csv": rows})


def test_a_multiclass_task_is_small_by_the_classes_that_it_has(declare: Declare) -> None:
    rows = "site,x,y\nn,1,a\nn,2,a\nn,3,b\nn,4,b\ns,5,a\ns,6,a\ns,7,c\nw,8,a\nw,9,a\n"
    text = "columns: [x]\nkind: multiclass\ntask: site\nlabel: {column: y}\nsmallest: {per_class: 2}\n"
    assert _column(declare(text, {"a.csv": rows}), "x") == [1, 2, 3, 4]


def test_repeated_rows_are_kept_or_dropped_as_declared(declare: Declare) -> None:
    rows = "x,z,y\n1,a,0\n1,b,0\n1,a,0\n1,a,1\n"
    text = "columns: [x, z]\nlabel: {column: y, positive: 1}\n"
    assert len(declare(text, {"a.csv": rows}).frame) == 4
    found = declare(f"{text}duplicate_rows: drop\n", {"a.csv": rows})
    assert (len(found.frame), found.left_out) == (3, {"rows that repeat another one": 1})


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        (f"columns: [aeg]\n{LABEL}", FileFormatError, "a.csv has no column 'aeg'; name one of: id, person, ward"),
        ("columns: [age]\nlabel: {column: oot}\n", FileFormatError, "a.csv has no column 'oot'; name one of"),
        (f"columns: [age]\ntask: city\n{LABEL}", FileFormatError, "a.csv has no column 'city'"),
        (f"other_columns: keep\ndrop: [nte]\n{LABEL}", FileFormatError, "a.csv has no column 'nte'"),
        (
            "columns: [age]\nlabel: {column: code, positive: '007'}\n",
            TaskError,
            r"has 3 values \('007', '011', '012'\) and a b",
        ),
        (
            "columns: [age]\nlabel: {column: ward}\n",
            TaskError,
            "has the values 'east', 'west'; declare which one is positive",
        ),
        (
            "columns: [age]\nlabel: {column: ward, positive: est}\n",
            TaskError,
            "has no value 'est'; it has 'east', 'west'",
        ),
        (
            "columns: [age]\nlabel: {column: out, positive: dead}\n",
            InputError,
            r"row 6, column 'out': the label is not known",
        ),
        (
            f"case: person\ncolumns: [age]\n{LABEL}",
            InputError,
            r"a.csv, row 5 has the person 'p3' again \(1 such rows\)",
        ),
        (
            f"case: [person, note]\ncolumns: [age]\n{LABEL}",
            InputError,
            "row 2 has no person and note; give every case one",
        ),
        (
            f"columns: [out]\n{LABEL}",
            InputError,
            r"has 'out' among the columns, which is what the label is made of \(a leak\)",
        ),
        (
            f"columns: [x: {{from: out}}]\n{LABEL}",
            InputError,
            "'out' among the columns, which is what the label is made of",
        ),
        (
            f"group: person\ncolumns: [person]\n{LABEL}",
            InputError,
            "'person' among the columns, which names the case or the",
        ),
        (
            f"columns: [label: {{from: age}}]\n{LABEL}",
            InputError,
            "has a column 'label', which the frame uses itself; rename",
        ),
        (f"columns: []\n{LABEL}", InputError, "demo leaves the cases no column; name some under columns"),
        (
            f"columns: [age: {{schema: {{type: numeric}}}}]\n{LABEL}",
            InputError,
            "a.csv, row 3, column 'age': '> 89' came and a number was wanted; declare it under missing or replace",
        ),
        (
            f"columns: [age]\nindex: {{time: sex}}\n{LABEL}",
            InputError,
            r"row 2, column 'sex': 'f' came and a time such as 2031",
        ),
        (
            f"columns: [age]\nindex: {{time: note}}\n{LABEL}",
            InputError,
            "row 3, column 'note': 'x' came and a time such as",
        ),
        (f"columns: [age]\ntime: ward\n{LABEL}", InputError, "row 2, column 'ward': 'east' came and a time such as"),
        (
            f"table2: x\ncolumns: [age]\n{LABEL}",
            FileFormatError,
            "table2 is no key of a declaration; did you mean table?",
        ),
        (f"folder: nowhere\ncolumns: [age]\n{LABEL}", InputError, "the folder 'nowhere', which is not below the root"),
        (
            f"folder: ../x\ncolumns: [age]\n{LABEL}",
            InputError,
            "demo names the path '../x'; give one below the root folder",
        ),
        (
            f"joins: [{{table: ../w.csv, on: ward}}]\n{LABEL}",
            InputError,
            "demo names the path '../w.csv'; give one below",
        ),
        (
            f"joins: [{{table: none.csv, on: ward}}]\n{LABEL}",
            FileFormatError,
            "there is no file .*none.csv'; check the path",
        ),
    ],
)
def test_what_does_not_fit_the_file_is_told_with_row_and_column(
    declare: Declare, text: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        declare(text, A)
    assert "\n" not in str(caught.value)


def test_dates_are_read_in_the_declared_form_and_a_wrong_one_is_told(declare: Declare) -> None:
    rows = "x,day,y\n1,03.02.2031,0\n2,31.02.2031,1\n3,x,1\n"
    text = "columns: [x]\ntime: day\ntime_format: '%d.%m.%Y'\nlabel: {column: y, positive: 1}\n"
    with pytest.raises(
        InputError, match=r"row 3, column 'day': '31.02.2031' came and a time written as %d.%m.%Y was wanted "
    ):
        declare(text, {"a.csv": rows})
    found = declare(text, {"a.csv": rows[: rows.index("2,")]})
    assert found.frame["time"].tolist() == [pd.Timestamp("2031-02-03")]


def test_a_missing_index_time_is_refused_or_left_out(declare: Declare) -> None:
    rows = "x,day,y\n1,2031-02-03,0\n2,,1\n"
    text = "columns: [x]\nindex: {time: day}\nlabel: {column: y, positive: 1}\n"
    with pytest.raises(
        InputError, match=r"a.csv, row 3, column 'day': the index time is missing \(1 such cases\); declare"
    ):
        declare(text, {"a.csv": rows})
    found = declare(text.replace("day}", "day, absent: drop}"), {"a.csv": rows})
    assert (len(found.frame), found.left_out) == (1, {"without an index time": 1})
    with pytest.raises(TaskError, match=r"demo has no case left \(without an index time: 1\)"):
        declare(text.replace("day}", "day, absent: drop}"), {"a.csv": "x,day,y\n2,,1\n"})


def test_a_file_that_is_too_large_or_a_declaration_without_a_root_is_refused(declare: Declare, tmp_path: Path) -> None:
    declare(f"columns: [age]\n{LABEL}", A)
    with pytest.raises(FileFormatError, match=r"a.csv is larger than the 10 bytes that are read at once; split it"):
        read_declared(tmp_path / "d.yaml", limit_bytes=10)
    spec = read_declaration(tmp_path / "d.yaml")
    assert len(read_declared(spec, root=tmp_path).frame) == 4
    with pytest.raises(InputError, match=r"got a declaration that is read already; give root, and no variant"):
        read_declared(spec)
