import io

import numpy as np
import pytest
from rdkit import Chem

from metamedica.modalities.molecules.jobs import Answer, Workbench
from metamedica.modalities.molecules.worker import read_answer, write_answer


@pytest.mark.parametrize(
    ("text", "scaffold"),
    [
        ("CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1"),
        ("C[C@H]1CC[C@@H](c2ccncc2)O1", "c1cc(C2CCCO2)ccn1"),
        ("CCC[C@H](F)O", "CCC[C@@H](O)F"),
        ("O=C1CCCCC1", "O=C1CCCCC1"),
    ],
)
def test_the_scaffold_is_rings_and_linkers_and_an_acyclic_molecule_is_its_own(text: str, scaffold: str) -> None:
    answer = Workbench(500).run("scaffold", [text])
    assert answer == Answer([scaffold], [""], {})


def test_one_bad_text_leaves_the_others_alone() -> None:
    answer = Workbench(500).run("prepare", ["CCO", "xx", "[UH250]", "CCN"])
    assert answer.texts == ["CCO", "", "", "CCN"]
    assert [bool(reason) for reason in answer.reasons] == [False, True, True, False]
    assert answer.reasons[2] == "RDKit cannot make sense of it"
    assert not answer.arrays["counts"][1:3].any()
    assert answer.arrays["counts"][[0, 3]].any(axis=1).all()


def test_a_mol_block_becomes_smiles_with_its_stereo() -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    answer = Workbench(500).run("block", [block, "no mol block", ""])
    assert answer.texts == ["C[C@H](N)C(=O)O", "", ""]
    assert [bool(reason) for reason in answer.reasons] == [False, True, True]


def test_nothing_is_logged_while_working_and_logging_goes_on_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    Workbench(500).run("prepare", ["xx", "CC(C)(C)(C)C"])
    assert capfd.readouterr().err == ""
    Chem.MolFromSmiles("xx")
    assert "SMILES Parse Error" in capfd.readouterr().err


@pytest.mark.parametrize("job", ["prepare", "counts", "scaffold", "graph", "block"])
def test_an_answer_survives_the_pipe(job: str) -> None:
    answer = Workbench(500).run(job, ["CCO", "xx", "c1ccccc1"])  # type: ignore[arg-type]
    stream = io.BytesIO()
    write_answer(stream, answer)
    stream.seek(0)
    back = read_answer(stream)
    assert back is not None
    assert (back.texts, back.reasons) == (answer.texts, answer.reasons)
    assert {name: (a.dtype, a.shape) for name, a in back.arrays.items()} == {
        name: (a.dtype, a.shape) for name, a in answer.arrays.items()
    }
    assert all(np.array_equal(back.arrays[name], answer.arrays[name]) for name in answer.arrays)


def test_a_cut_answer_is_no_answer() -> None:
    stream = io.BytesIO()
    write_answer(stream, Workbench(500).run("counts", ["CCO"]))
    whole = stream.getvalue()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        assert read_answer(io.BytesIO(whole[:length])) is None
