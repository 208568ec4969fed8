import gzip
from pathlib import Path

import pytest
from rdkit import Chem, RDConfig

from metamedica.errors import FileFormatError
from metamedica.modalities.molecules import Molecules, reading


def sdf(*texts: str) -> str:
    out = ""
    for number, text in enumerate(texts):
        molecule = Chem.MolFromSmiles(text)
        molecule.SetProp("_Name", f"molecule {number}")
        out += Chem.MolToMolBlock(molecule) + "> <activity>\n7.5\n\n$$$$\n"
    return out


def test_a_smi_file_gives_smiles_and_names(tmp_path: Path, molecules: Molecules) -> None:
    file = tmp_path / "a.smi"
    file.write_text("CCO ethanol\n\nc1ccccc1\tbenzene ring \nCC\n")
    assert molecules.read_file(str(file)) == (["CCO", "c1ccccc1", "CC"], ["ethanol", "benzene ring", ""])


@pytest.mark.parametrize("header", ["SMILES Name\n", "smiles\n", "\ufeffsmiles,id\n".replace(",", " ")])
def test_a_header_and_a_byte_order_mark_are_no_molecules(tmp_path: Path, molecules: Molecules, header: str) -> None:
    file = tmp_path / "a.SMI"
    file.write_bytes((header + "CCO 1\r\nCC 2").encode())
    assert molecules.read_file(str(file)) == (["CCO", "CC"], ["1", "2"])


def test_names_may_be_utf_8_or_latin_1(tmp_path: Path, molecules: Molecules) -> None:
    file = tmp_path / "a.smi"
    file.write_bytes("CCO β-blocker\n".encode() + "CC Säure\n".encode("latin-1"))
    assert molecules.read_file(str(file)) == (["CCO", "CC"], ["β-blocker", "Säure"])


@pytest.mark.parametrize("ending", [".sdf", ".SDF", ".sdf.gz"])
def test_an_sd_file_gives_smiles_and_names(tmp_path: Path, molecules: Molecules, ending: str) -> None:
    file = tmp_path / f"my.set{ending}"
    data = sdf("CCO", "N[C@@H](C)C(=O)O").encode()
    file.write_bytes(gzip.compress(data, mtime=0) if ending.endswith("gz") else data)
    assert molecules.read_file(str(file)) == (["CCO", "C[C@H](N)C(=O)O"], ["molecule 0", "molecule 1"])


def test_a_record_that_cannot_be_read_keeps_its_position_and_prepare_reports_it(
    tmp_path: Path, molecules: Molecules
) -> None:
    good, after = sdf("CCO"), sdf("CCN")
    bad = "broken\n  x\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n nonsense\nM  END\n$$$$\n"
    file = tmp_path / "a.sdf"
    file.write_text(good + bad + "$$$$\n" + after)
    found = molecules.read_file(str(file))
    assert found == (["CCO", "", "", "CCN"], ["molecule 0", "broken", "", "molecule 0"])
    prepared = molecules.prepare(found[0])
    assert prepared.row == [0, -1, -1, 1]
    assert [problem.position for problem in prepared.problems] == [1, 2]


def test_a_record_that_is_too_long_is_not_parsed(
    tmp_path: Path, molecules: Molecules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_BLOCK", 1500)
    file = tmp_path / "a.sdf"
    file.write_text(sdf("CCO", "C" * 100, "CCN"))
    assert molecules.read_file(str(file)) == (["CCO", "", "CCN"], ["molecule 0", "molecule 1", "molecule 2"])


def test_an_endless_line_is_one_case(tmp_path: Path, molecules: Molecules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 2000)
    file = tmp_path / "a.smi"
    file.write_text("CC one\n" + "C" * 10_000 + " two\nCO three\n")
    cases, names = molecules.read_file(str(file)) or ([], [])
    assert names == ["one", "", "three"]
    assert molecules.prepare(cases).row == [0, -1, 1]


def test_a_mol_file_is_one_molecule(tmp_path: Path, molecules: Molecules) -> None:
    file = tmp_path / "a.mol"
    file.write_text(Chem.MolToMolBlock(Chem.MolFromSmiles("c1ccccc1O")))
    assert molecules.read_file(str(file)) == (["Oc1ccccc1"], [""])


def test_every_record_of_rdkits_sd_file_is_read(molecules: Molecules) -> None:
    file = Path(RDConfig.RDDataDir) / "NCI" / "first_200.props.sdf"
    cases, names = molecules.read_file(str(file)) or ([], [])
    supplier = Chem.ForwardSDMolSupplier(str(file))
    expected = [(Chem.MolToSmiles(molecule), molecule.GetProp("_Name")) for molecule in supplier]
    assert list(zip(cases, names, strict=True)) == expected


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a", "a.gz", "smi"])
def test_other_suffixes_are_not_ours(molecules: Molecules, name: str) -> None:
    assert molecules.read_file(name) is None


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.smi", b"", "holds no molecule"),
        ("a.smi", b"\n \n", "holds no molecule"),
        ("a.sdf", b"", "holds no molecule"),
        ("a.sdf.gz", b"not gzip", "not a whole gzip file"),
        ("a.smi.gz", gzip.compress(b"CCO\n" * 100, mtime=0)[:-10], "not a whole gzip file"),
        ("a.smi", None, "cannot be read (No such file"),
    ],
)
def test_a_file_without_molecules_is_refused_by_name(
    tmp_path: Path, molecules: Molecules, name: str, data: bytes | None, said: str
) -> None:
    file = tmp_path / name
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(FileFormatError) as caught:
        molecules.read_file(str(file))
    assert str(file) in str(caught.value)
    assert said in str(caught.value)
