"""What a user may bring by mistake: one clear sentence, exit code 2, and nothing partial left behind."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from metamedica.storage import read_bundle, write_bundle

Run = Callable[..., Any]
HEADER = "smiles,pki\n"
GOOD = "CCO,5.1\nCCN,6.2\nCCCC,4.9\n"
LONG = 150_000


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Write a table beside the folder that the command may write to."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()

    def write(content: str | bytes, name: str = "measured.csv") -> Path:
        path = tmp_path / "in" / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def adapt_refused(refused: Run, model: Path, tmp_path: Path) -> Callable[..., str]:
    """Adapt to a table that must be refused; return the sentence."""

    def command(path: Path, *more: str) -> str:
        outcome = refused("adapt", path, "--model", model, "--out", tmp_path / "out" / "p", *more)
        assert list((tmp_path / "out").iterdir()) == []
        return str(outcome.err)

    return command


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "measured.csv is empty"),
        ("\n  \n", "measured.csv is empty"),
        (HEADER, "measured.csv has a header and no row"),
        ("id,pki\n1,5.0\n2,6.0\n", "no column that looks like SMILES; name it with --case; the columns are: id, pki"),
        ("smiles,a,b\nCCO,1.5,2\nCCN,2.5,3\n", "--target; the columns are: smiles, a, b"),
        (
            HEADER + GOOD + "CCCO,high\n",
            "measured.csv, row 5, column 'pki': the target is 'high' and 3 others are numbers",
        ),
        (HEADER + GOOD + "CCCO,>7\n", "measured.csv, row 5, column 'pki': the target is '>7'"),
        (HEADER + GOOD + "CCCO,inf\n", "measured.csv, row 5, column 'pki': the target is 'inf'"),
        (HEADER + "CCO,1\nCCN,1\nCCCC,1\n", "measured.csv has no task with cases of two classes"),
        (HEADER + "CCO,5.1\n", "measured.csv has one usable measured case; give at least 2"),
        (HEADER + "CCO,5.1\nOCC,5.1\n", "measured.csv has one usable measured case; give at least 2"),
        (
            HEADER + GOOD + "OCC,7.7\n",
            "row 2 and row 5 are the same case ('CCO' and 'OCC') with targets 5.1 and 7.7; keep one",
        ),
        (
            HEADER + GOOD + "C1CC,7.7\n",
            "measured.csv, column 'smiles': 1 of 4 cases cannot be read: row 5 ('C1CC'): a ring is opened",
        ),
        (HEADER + GOOD + ",7.7\n", "row 5 (''): it is empty"),
        (HEADER + GOOD + "CCO,7.7,9\n", "measured.csv, row 5 has 3 cells and the header has 2"),
        ('smiles,pki\n"CCO,5.1\nCCN,6.2\n', "measured.csv, row 2 is not well formed"),
        ("smiles,smiles,pki\nC,C,1.5\n", "2 columns called 'smiles'"),
        (HEADER + ",\n,\n", "measured.csv has a header and no row"),
        (HEADER + "CCO,\nCCN,\n", "no measured value in pki"),
        (b"PK\x03\x04" + b"\0" * 100, "is an Excel or zip file; save the sheet as CSV"),
        (b"smiles,pki\nCCO,\x005\n", "holds binary data"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    table: Callable[..., Path], adapt_refused: Callable[..., str], content: str | bytes, said: str
) -> None:
    assert said in adapt_refused(table(content))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("measured.parquet", "is not a whole Parquet file"),
        ("measured.csv.gz", "measured.csv.gz"),
        ("measured.xlsx", "suffix"),
        ("measured", "suffix"),
    ],
)
def test_a_file_of_another_format_is_refused(
    table: Callable[..., Path], adapt_refused: Callable[..., str], name: str, said: str
) -> None:
    content = gzip.compress(HEADER.encode() * 100, mtime=0)[:20] if name.endswith(".gz") else b"PAR1 but no more" * 3
    assert said in adapt_refused(table(content, name))


def test_a_file_that_is_not_there_and_a_folder_are_refused(
    adapt_refused: Callable[..., str], table: Callable[..., Path]
) -> None:
    path = table(HEADER + GOOD)
    assert "there is no file" in adapt_refused(path.with_name("other.csv"))
    (path.parent / "folder.csv").mkdir()
    assert "is a folder" in adapt_refused(path.parent / "folder.csv")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--case", "SMILES"], "measured.csv has no column 'SMILES'; it has: smiles, pki"),
        (["--target", "ki"], "measured.csv has no column 'ki'; it has: smiles, pki"),
        (["--kind", "binary"], "label"),
        (["--model", "chembl-magic"], "there is no model 'chembl-magic'"),
    ],
)
def test_a_name_that_is_not_there_is_refused(
    table: Callable[..., Path], adapt_refused: Callable[..., str], more: list[str], said: str
) -> None:
    assert said in adapt_refused(table(HEADER + GOOD), *more)


def test_labels_that_do_not_say_which_is_positive_are_refused(
    table: Callable[..., Path], adapt_refused: Callable[..., str]
) -> None:
    sentence = adapt_refused(table("smiles,call\nCCO,hit\nCCN,dud\nCCC,hit\nCCF,dud\n"))
    assert "'dud'" in sentence
    assert "positive" in sentence


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("smiles", "smiles,caf\u00e9").replace(",", ",\u00e9t\u00e9,", 1).encode("latin-1"),
        lambda text: text.encode("utf-16"),
    ],
    ids=["a byte-order mark", "semicolons", "tabs", "Windows line ends", "latin-1", "utf-16"],
)
def test_tables_as_office_programs_write_them_are_read(
    run: Run, model: Path, tmp_path: Path, table: Callable[..., Path], change: Callable[[str], bytes]
) -> None:
    text = HEADER + GOOD + "CCCO,7.7\n"
    content = change(text)
    if b"caf" in content:  # one more column with letters that are not UTF-8
        content = "smiles,caf\u00e9,pki\nCCO,\u00e9t\u00e9,5.1\nCCN,,6.2\nCCCC,,4.9\nCCCO,,7.7\n".encode("latin-1")
    shown = run(
        "adapt", table(content), "--model", model, "--unit", "-log10 M", "--out", tmp_path / "out" / "p", "--json"
    )
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["labelled_cases"] == 4


def test_an_invalid_molecule_of_a_library_is_named_with_file_row_and_text(
    refused: Run, predictor: Path, tmp_path: Path, table: Callable[..., Path]
) -> None:
    path = table("id,smiles\n1,CCO\n2,CCX\n3,C1CC\n4,CC\n5,cc\n6,C(C\n", "library.csv")
    outcome = refused("predict", path, "--predictor", predictor, "--out", tmp_path / "out" / "r.csv")
    assert "library.csv: 4 of 6 cases cannot be read: row 3 ('CCX')" in outcome.err
    assert "row 4 ('C1CC'): a ring is opened and never closed" in outcome.err
    assert "and 1 more" in outcome.err
    assert "--skip-invalid" in outcome.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_library_without_any_molecule_is_refused_even_when_skipping(
    refused: Run, predictor: Path, tmp_path: Path, table: Callable[..., Path]
) -> None:
    path = table("smiles\nX1\nX2\n", "library.csv")
    assert (
        "2 of 2"
        in refused("predict", path, "--predictor", predictor, "--out", tmp_path / "out" / "r.csv", "--skip-invalid").err
    )


@pytest.mark.parametrize("where", ["adapt", "predict", "sdf"])
def test_a_molecule_of_2000_atoms_is_refused_by_name(
    refused: Run, model: Path, predictor: Path, tmp_path: Path, table: Callable[..., Path], where: str
) -> None:
    giant = "C" * 2_000
    if where == "adapt":
        path = table(HEADER + GOOD + f"{giant},6.0\n")
        sentence = refused("adapt", path, "--model", model, "--out", tmp_path / "out" / "p").err
        assert "row 5 ('CCC" in sentence
    elif where == "predict":
        path = table(f"smiles\nCCO\n{giant}\n", "library.csv")
        sentence = refused("predict", path, "--predictor", predictor, "--out", tmp_path / "out" / "r.csv").err
        assert "row 3 ('CCC" in sentence
    else:
        from rdkit import Chem

        with Chem.SDWriter(str(tmp_path / "in" / "library.sdf")) as writer:
            writer.SetForceV3000(True)
            for smiles in ("CCO", giant):
                molecule = Chem.MolFromSmiles(smiles)
                molecule.AddConformer(
                    Chem.Conformer(molecule.GetNumAtoms())
                )  # else RDKit lays it out, for half a minute
                writer.write(molecule)
        sentence = refused(
            "predict", tmp_path / "in" / "library.sdf", "--predictor", predictor, "--out", tmp_path / "out" / "r.csv"
        ).err
        assert "record 2" in sentence
    assert len(sentence) < 400
    assert list((tmp_path / "out").iterdir()) == []


def test_a_smiles_of_150_kb_costs_neither_a_minute_nor_a_gigabyte(
    model: Path, predictor: Path, tmp_path: Path, table: Callable[..., Path]
) -> None:
    """A ladder of rings, 150,000 characters: RDKit alone takes most of a minute and 1.6 GB for it."""
    giant = "C1CC2" + "CC1CC2" * (LONG // 6)
    path = table(f"smiles\nCCO\n{giant}\n", "library.csv")
    program = (
        "import resource, sys; "
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)); "
        "from metamedica.cli import main; code = main(); "
        "children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss; "
        # not RUSAGE_SELF, which remembers the memory of the process that started this one
        "own = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')); "
        "print(max(children, own)); sys.exit(code)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, "predict", str(path), "--predictor", str(predictor), "--out", str(tmp_path / "out" / "r.csv")],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert time.monotonic() - started < 30
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "row 3 ('C1CC2" in done.stderr
    assert "it has 150,005 characters, at most 1,000 are read" in done.stderr
    assert int(done.stdout) < 1_000_000  # kilobytes: with PyTorch, pandas and RDKit
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def _adapt(refused: Run, measured: Path, copy: Path, tmp_path: Path) -> str:
    sentence = refused("adapt", measured, "--model", copy, "--out", tmp_path / "p").err
    assert not (tmp_path / "p").exists()
    return str(sentence)


def test_a_truncated_model_file_is_refused_by_name(refused: Run, measured: Path, copy: Path, tmp_path: Path) -> None:
    path = copy / "learner.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    assert "learner.safetensors was changed or damaged" in _adapt(refused, measured, copy, tmp_path)


def test_a_tampered_model_file_is_refused_by_name(refused: Run, measured: Path, copy: Path, tmp_path: Path) -> None:
    path = copy / "earlier.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert "earlier.safetensors was changed or damaged" in _adapt(refused, measured, copy, tmp_path)


def test_a_model_with_a_damaged_manifest_or_a_missing_file_is_refused(
    refused: Run, measured: Path, copy: Path, tmp_path: Path
) -> None:
    (copy / "learner.safetensors").unlink()
    assert "lacks its file 'learner.safetensors'" in _adapt(refused, measured, copy, tmp_path)
    (copy / "MANIFEST.json").write_text("{")
    assert "MANIFEST.json is damaged" in _adapt(refused, measured, copy, tmp_path)


def _rewritten(copy: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the model's document as somebody would who also knows how to write the checksums."""
    tensors, documents = read_bundle(copy, "model")
    change(documents["model"])
    write_bundle(copy, "model", tensors, documents)


def test_a_model_of_another_modality_is_refused(refused: Run, measured: Path, copy: Path, tmp_path: Path) -> None:
    _rewritten(copy, lambda document: document["modality"].update(name="crystals"))
    assert "'crystals'" in _adapt(refused, measured, copy, tmp_path)


def test_a_model_of_another_version_of_the_features_is_refused(
    refused: Run, measured: Path, copy: Path, tmp_path: Path
) -> None:
    _rewritten(copy, lambda document: document["modality"].update(version="0"))
    assert "fit the model again" in _adapt(refused, measured, copy, tmp_path)


def test_a_predictor_is_no_model_and_a_model_is_no_predictor(
    refused: Run, measured: Path, library: Path, model: Path, predictor: Path, tmp_path: Path
) -> None:
    assert "holds a predictor, a model was wanted" in _adapt(refused, measured, predictor, tmp_path)
    sentence = refused("predict", library, "--predictor", model, "--out", tmp_path / "r.csv").err
    assert "holds a model, a predictor was wanted" in sentence


def test_a_truncated_predictor_is_refused(refused: Run, predictor: Path, library: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(predictor, tmp_path / "copy"))
    (copy / "support.safetensors").write_bytes(b"")
    assert (
        "support.safetensors was changed or damaged"
        in refused("predict", library, "--predictor", copy, "--out", tmp_path / "r.csv").err
    )


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small tmpfs here; the disk-full commands were not tried")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_leaves_nothing_partial(
    refused: Run,
    full_disk: Path,
    assays: Path,
    model: Path,
    measured: Path,
    library: Path,
    predictor: Path,
    tmp_path: Path,
) -> None:
    big = tmp_path / "library.csv"
    table = pd.concat([pd.read_csv(library)] * 40)
    table.assign(id=[hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(len(table))]).to_csv(
        big, index=False
    )
    commands = [
        ("fit", assays, "--task", "assay", "--learner", "prototypical", "--steps", 1, "--out", full_disk / "m"),
        ("adapt", measured, "--model", model, "--unit", "-log10 M", "--out", full_disk / "p"),
        ("predict", big, "--predictor", predictor, "--out", full_disk / "r.csv"),
        ("predict", big, "--predictor", predictor, "--out", full_disk / "r.parquet", "--keep-order"),
    ]
    for command in commands:
        assert "the disk is full" in refused(*command).err
        assert list(full_disk.iterdir()) == [], command


def test_a_place_that_cannot_be_written_to_is_named(run: Run, assays: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shown = run("fit", assays, "--task", "assay", "--learner", "tanimoto_gp", "--out", tmp_path / "file" / "m")
    assert shown.code == 2
    assert shown.err.startswith("error: ")
    assert f"{tmp_path / 'file'}" in shown.err
