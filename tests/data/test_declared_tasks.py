"""A collection from a declaration: its tasks, its schema, and all that was left out on the way."""

from pathlib import Path

from metamedica.data.declared import read_declared
from metamedica.data.declared_tasks import declared_tasks

CLINIC = Path(__file__).parents[2] / "examples" / "clinic.yaml"


def test_a_declaration_becomes_tasks_with_its_schema_its_patients_and_the_count_of_those_left_out() -> None:
    declared = read_declared(CLINIC)
    tasks = declared_tasks(declared)
    assert tasks.modality == "tables"
    assert {task.name: len(task) for task in tasks.tasks.values()} == declared.frame.groupby("task").size().to_dict()
    assert {task.name: int(task.targets.sum()) for task in tasks.tasks.values()} == {"medicine": 6, "surgery": 9}
    assert tasks.left_out == declared.left_out
    schema = dict(tasks.settings["schema"])
    assert schema["glucose"]["unit"] == "mmol/L"
    assert schema["frailty"]["levels"] == ["none", "mild", "severe"]
    for name, rows in declared.frame.groupby("task"):
        groups = tasks[name].groups
        assert groups is not None
        assert len(set(groups)) == rows["group"].nunique()
