"""`metamedica export`: a predictor as ONNX, its sidecars, and their program, which runs without PyTorch."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from metamedica import registry
from metamedica.cli import main
from metamedica.errors import FileFormatError, MetamedicaError
from metamedica.predictors.export import file
from metamedica.predictors.predictor import Predictor

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def calls(assays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A binary predictor of a guarded model that learned."""
    folder = tmp_path_factory.mktemp("calls")
    rows = pd.read_csv(assays).query("assay == 'A3'").head(16)
    rows.assign(call=["no", "yes"] * 8)[["smiles", "call"]].to_csv(folder / "measured.csv", index=False)
    model, out = folder / "model", folder / "predictor"
    small = ["--encoder-set", "hidden=[8]", "--encoder-set", "dim=4", "--steps", "2"]
    assert (
        main(["fit", str(assays), "--task", "assay", "--learner", "maml", *small, "--out", str(model), "--json"]) == 0
    )
    assert main(["adapt", str(folder / "measured.csv"), "--model", str(model), "--out", str(out), "--json"]) == 0
    return out


def program(path: Path) -> str:
    """The first program of the sidecar for people."""
    found = re.search(r"```python\n(.*?)```", path.with_name(path.name + ".md").read_text(encoding="utf-8"), flags=re.S)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("which", ["predictor", "calls"])
def test_the_program_of_the_sidecar_runs_without_pytorch_and_prints_the_check(
    run: Run, request: pytest.FixtureRequest, tmp_path: Path, which: str
) -> None:
    folder = request.getfixturevalue(which)
    out = tmp_path / "new.onnx"
    shown = run("export", folder, "--out", out)
    assert shown.code == 0, shown.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.onnx", "new.onnx.json", "new.onnx.md"]
    absent = "import sys\nsys.modules['torch'] = sys.modules['metamedica'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", absent + program(out)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "new.onnx.json").read_text(encoding="utf-8"))
    numbers = np.array([float(word) for word in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", done.stdout)])
    for values in told["check"]["outputs"].values():
        if which == "calls" or values == told["check"]["outputs"]["mean"]:  # the deviation is printed as an interval
            assert all(np.abs(numbers - value).min() < 1e-4 for value in np.ravel(values))


@pytest.mark.parametrize("which", ["predictor", "calls"])
def test_the_file_says_what_predict_says_in_the_tasks_own_unit(
    run: Run, request: pytest.FixtureRequest, library: Path, tmp_path: Path, which: str
) -> None:
    loaded = Predictor.load(request.getfixturevalue(which))
    about = loaded.export_onnx(tmp_path / "new.onnx")
    cases = pd.read_csv(library)["smiles"].tolist()
    prepared = registry.modality("molecules").prepare(cases)
    blocks = {name: block[prepared.row] for name, block in prepared.features.items()}
    found = file.run((tmp_path / "new.onnx").read_bytes(), blocks)
    if loaded.classes is None:
        np.testing.assert_allclose(found["mean"], loaded.predict(cases), atol=1e-5)
        low = found["mean"] - about["half_width_90"] * found["standard_deviation"]
        np.testing.assert_allclose(low, loaded.predict_interval(cases)[:, 0], atol=1e-3)
        assert about["unit"] == "-log10 M"
    else:
        np.testing.assert_allclose(found["probabilities"], loaded.predict_proba(cases), atol=1e-5)
        assert about["classes"] == ["no", "yes"]
        assert set(about["weights"]) == {"maml", "multi_kernel_gp"}


def test_the_files_tell_programs_and_people_what_it_is(run: Run, calls: Path, tmp_path: Path) -> None:
    told = json.loads(run("export", calls, "--out", tmp_path / "new.onnx", "--json").out)
    beside = json.loads((tmp_path / "new.onnx.json").read_text(encoding="utf-8"))
    model = onnx.load(tmp_path / "new.onnx")
    inside = json.loads({each.key: each.value for each in model.metadata_props}["metamedica"])
    assert {**inside, "sha256": beside["sha256"]} == beside
    assert {**beside, "out": told["out"], "bytes": told["bytes"]} == told
    assert beside["inputs"]["counts"]["columns"] == 2048
    assert "Morgan" in beside["inputs"]["counts"]["made"]
    assert beside["model_sha256"] == file.digest(Predictor.load(calls).model)
    assert "keep the file as you keep the cases" in (tmp_path / "new.onnx.md").read_text(encoding="utf-8")
    assert [each.domain for each in model.opset_import] == [""]
    canonical = Predictor.load(calls).support.canonical
    text = (tmp_path / "new.onnx.md").read_text(encoding="utf-8") + json.dumps(beside)
    assert not any(f'"{case}"' in text for case in canonical)


def test_a_person_is_told_inputs_outputs_and_that_it_is_personal(run: Run, predictor: Path, tmp_path: Path) -> None:
    shown = run("export", predictor, "--out", tmp_path / "new.onnx").out
    for said in ("counts", "cases x 2048", "standard_deviation", "new.onnx.md", "keep it as you keep them"):
        assert said in shown
    assert max(map(len, shown.splitlines())) <= 80 + len(str(tmp_path))


def test_what_cannot_be_written_is_refused_before_the_work(
    run: Run, refused: Run, predictor: Path, model: Path, tmp_path: Path
) -> None:
    assert "unknown format" in refused("export", predictor, "--out", tmp_path / "new.tflite").err
    assert "holds a model, a predictor was wanted" in refused("export", model, "--out", tmp_path / "new.onnx").err
    (tmp_path / "new.onnx.md").write_text("mine")
    assert "--overwrite" in refused("export", predictor, "--out", tmp_path / "new.onnx").err
    assert [path.name for path in tmp_path.iterdir()] == ["new.onnx.md"]
    assert run("export", predictor, "--out", tmp_path / "new.onnx", "--overwrite").code == 0


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_pip_line(
    refused: Run, predictor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = refused("export", predictor, "--out", tmp_path / "new.onnx").err
    assert f"{package} is not installed; install it with: pip install 'metamedica[export]'" in said
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused_by_the_library_too(predictor: Path, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"give one that ends with \.onnx"):
        Predictor.load(predictor).export_onnx(tmp_path / "model.pb")


def test_a_file_that_would_answer_otherwise_is_not_written(
    predictor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = file.run
    monkeypatch.setattr(file, "run", lambda *given: {name: value + 0.01 for name, value in right(*given).items()})
    with pytest.raises(MetamedicaError, match="differs from the predictor by"):
        Predictor.load(predictor).export_onnx(tmp_path / "new.onnx")
    assert list(tmp_path.iterdir()) == []
