import importlib
import random
import sys
from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem

from metamedica import registry
from metamedica.errors import CaseError, InputError, MissingExtraError
from metamedica.modalities.molecules import Molecules
from metamedica.modalities.molecules.crew import Limits
from metamedica.types import PreparedCases


def check_whole(prepared: PreparedCases, cases: Sequence[object]) -> None:
    """Every case has a row or a problem, never both; every row is used; blocks fit."""
    assert len(prepared.row) == len(cases)
    refused = [problem.position for problem in prepared.problems]
    assert refused == [position for position, row in enumerate(prepared.row) if row < 0]
    assert {row for row in prepared.row if row >= 0} == set(range(len(prepared.canonical)))
    assert len(set(prepared.canonical)) == len(prepared.canonical)
    assert prepared.features["counts"].shape == (len(prepared.canonical), 2048)
    assert prepared.features["counts"].dtype == torch.uint8
    assert prepared.features["descriptors"].shape[0] == len(prepared.canonical)
    assert prepared.features["descriptors"].dtype == torch.float32
    assert bool(prepared.features["descriptors"].isfinite().all())


def test_the_folder_lists_it_by_name() -> None:
    found = registry.modality("molecules")
    assert isinstance(found, Molecules)
    assert found.name == "molecules"


def test_without_rdkit_the_error_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    monkeypatch.delitem(sys.modules, "metamedica.modalities.molecules")
    with pytest.raises(MissingExtraError, match=r"pip install 'metamedica\[molecules\]'"):
        importlib.import_module("metamedica.modalities.molecules")


def test_equal_molecules_share_a_row_and_rows_come_in_order_of_appearance(molecules: Molecules) -> None:
    cases = ["CCO", "c1ccccc1", "OCC", " CCO\n", "C(C)O", "CC(=O)[O-].[Na+]", "CC(O)=O"]
    prepared = molecules.prepare(cases)
    check_whole(prepared, cases)
    assert prepared.row == [0, 1, 0, 0, 0, 2, 2]
    assert prepared.canonical == ["CCO", "c1ccccc1", "CC(=O)O"]


def test_every_bad_case_is_reported_with_position_text_and_reason(molecules: Molecules, monster: str) -> None:
    cases = ["CCO", "", None, "C1CC", "C" * 5000, monster, 7, float("nan"), "CC"]
    prepared = Molecules(Limits(seconds=1.0)).prepare(cases)
    check_whole(prepared, cases)
    assert prepared.row == [0, -1, -1, -1, -1, -1, -1, -1, 1]
    said = {problem.position: (problem.text, problem.reason) for problem in prepared.problems}
    assert said[3] == ("C1CC", "a ring is opened and never closed")
    assert said[4][0] == "C" * 59 + "…"
    assert "5,000 characters" in said[4][1]
    assert "takes more than 1 s" in said[5][1]
    assert said[6] == ("7", "it is of type int, not text")


def test_control_characters_of_a_bad_case_are_shown_escaped(molecules: Molecules) -> None:
    problems = molecules.prepare(["C\x1b[2JC", "C\nC"]).problems
    assert [problem.text for problem in problems] == ["C\\x1b[2JC", "C\\nC"]


@pytest.mark.parametrize("cases", [[], ["xx", ""]])
def test_without_a_usable_case_the_blocks_are_empty_but_whole(molecules: Molecules, cases: list[str]) -> None:
    check_whole(molecules.prepare(cases), cases)
    assert molecules.fingerprints(cases).counts.shape == (len(cases), 2048)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.text(max_size=30), st.text("CNOScno()[]=#123+-.@%/\\H*~", max_size=25), st.none()), max_size=6
    )
)
def test_no_text_whatever_breaks_it(molecules: Molecules, cases: list[str | None]) -> None:
    check_whole(molecules.prepare(cases, n_jobs=1), cases)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000))
def test_the_way_a_molecule_is_written_does_not_matter(molecules: Molecules, series: list[str], seed: int) -> None:
    text = random.Random(seed).choice(series)
    written = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(text), 4, randomSeed=seed + 1)
    prepared = molecules.prepare([text, *written, *written[::-1]])
    assert prepared.row == [0] * 9
    alone = [molecules.prepare([one]).features for one in written]
    for features in alone:
        assert all(torch.equal(features[name], prepared.features[name]) for name in features)


def test_preparing_what_was_prepared_changes_nothing(molecules: Molecules, series: list[str]) -> None:
    once = molecules.prepare(series[::3])
    again = molecules.prepare(once.canonical)
    assert once.problems == []
    assert again.canonical == once.canonical
    assert all(torch.equal(again.features[name], once.features[name]) for name in once.features)


@pytest.mark.mirror
def test_real_molecules_are_all_read_and_preparing_them_twice_changes_nothing(
    molecules: Molecules, chembl: list[str]
) -> None:
    once = molecules.prepare(chembl)
    again = molecules.prepare(once.canonical)
    assert once.problems == []
    assert again.canonical == once.canonical
    assert all(torch.equal(again.features[name], once.features[name]) for name in once.features)


def test_the_result_does_not_depend_on_the_number_of_processes(
    molecules: Molecules, series: list[str], harmless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metamedica.modalities.molecules import crew

    cases = [*series[:100], "xx", harmless, series[0]]
    here = molecules.prepare(cases)
    monkeypatch.setattr(crew, "HERE_TEXTS", 0)
    monkeypatch.setattr(crew, "CHUNK", 64)
    for n_jobs in (1, 3):
        there = molecules.prepare(cases, n_jobs=n_jobs)
        assert (there.row, there.canonical, there.problems) == (here.row, here.canonical, here.problems)
        assert all(torch.equal(there.features[name], here.features[name]) for name in here.features)


def test_fingerprints_are_the_counts_of_prepare_a_row_per_case(molecules: Molecules, series: list[str]) -> None:
    cases = [*series[:40], "xx", series[3], "CC(=O)[O-].[Na+]", "CC(O)=O", "", "C[N+](C)(C)C.[Br-]"]
    prepared, found = molecules.prepare(cases), molecules.fingerprints(cases)
    assert found.problems == prepared.problems
    assert found.counts.shape == (len(cases), 2048)
    for position, row in enumerate(prepared.row):
        expected = prepared.features["counts"][row] if row >= 0 else torch.zeros(2048, dtype=torch.uint8)
        assert torch.equal(found.counts[position], expected)


def test_groups_are_scaffolds_and_acyclic_molecules_stand_alone(molecules: Molecules) -> None:
    canonical = molecules.prepare(["c1ccccc1CC", "Cc1ccccc1", "CCO", "CCN", "C1CC1C", "OC1CCCCC1"]).canonical
    assert molecules.groups(canonical) == ["c1ccccc1", "c1ccccc1", "CCO", "CCN", "C1CC1", "C1CCCCC1"]


@pytest.mark.parametrize("what", ["groups", "graphs"])
def test_groups_and_graphs_refuse_what_was_not_prepared(molecules: Molecules, what: str) -> None:
    with pytest.raises(CaseError, match=r"case 2 \(xx\) is no usable molecule: .*; prepare the cases first"):
        getattr(molecules, what)(["CC", "xx"])
    with pytest.raises(CaseError, match=r"case 1 \(\) is no usable molecule: it is empty"):
        getattr(molecules, what)([""])


def test_encoders_take_the_blocks_of_prepare_and_of_graphs(molecules: Molecules) -> None:
    prepared = molecules.prepare(["CCO", "c1ccccc1"])
    assert molecules.encoder("mlp", hidden=(16,), dim=4)(prepared.features).shape == (2, 4)
    assert molecules.encoder("message_passing", dim=4)(molecules.graphs(prepared.canonical)).shape == (2, 4)


def test_an_unknown_encoder_or_setting_is_refused_with_what_there_is(molecules: Molecules) -> None:
    with pytest.raises(InputError, match="there is no encoder 'transformer'"):
        molecules.encoder("transformer")
    with pytest.raises(InputError, match="has no setting 'heads'; it has: hidden, dim, dropout"):
        molecules.encoder("mlp", heads=3)
    with pytest.raises(InputError, match="has no setting 'blocks'"):
        molecules.encoder("mlp", blocks={})


def test_an_encoder_of_images_is_refused_with_those_that_read_molecules(molecules: Molecules) -> None:
    with pytest.raises(
        InputError, match="'conv4' reads image, which molecules do not have; choose mlp or message_passing"
    ):
        molecules.encoder("conv4")


def test_only_an_encoder_of_graphs_reads_more_than_prepare_makes(molecules: Molecules) -> None:
    assert molecules.extra_blocks("mlp") == molecules.extra_blocks("conv4") == ()
    names, texts = molecules.extra_blocks("message_passing"), ["CCO", "c1ccccc1"]
    assert frozenset(names) == registry.encoder_class("message_passing").codes
    made, want = molecules.blocks(names, texts), molecules.graphs(texts)
    assert list(made) == ["atoms", "bonds"]
    assert all(torch.equal(block, want[name]) for name, block in made.items())
    with pytest.raises(
        InputError,
        match="molecules have no block counts beside those of prepare; they have atoms, bonds, functional, torsions, atom_pairs, paths",
    ):
        molecules.blocks(["counts"], texts)


def test_blocks_of_several_kinds_come_in_the_order_of_the_wish(molecules: Molecules, series: list[str]) -> None:
    texts = molecules.prepare(series[::90]).canonical
    made = molecules.blocks(["paths", "atoms", "torsions"], texts)
    assert list(made) == ["paths", "atoms", "torsions"]
    assert torch.equal(made["paths"], molecules.more_fingerprints(texts)["paths"])
    assert torch.equal(made["atoms"], molecules.graphs(texts)["atoms"])


def test_further_fingerprints_do_not_depend_on_the_number_of_workers(molecules: Molecules, series: list[str]) -> None:
    texts = molecules.prepare(series[:600]).canonical
    one, two = (molecules.more_fingerprints(texts, n_jobs=jobs) for jobs in (1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert list(one) == list(molecules.rich_blocks)
    with pytest.raises(CaseError, match=r"case 2 .* is no usable molecule"):
        molecules.more_fingerprints(["CCO", "C(C"])


def test_every_block_has_a_recipe(molecules: Molecules) -> None:
    assert set(molecules.recipe) == {"counts", "descriptors", *molecules.rich_blocks}


def test_progress_ends_at_the_number_of_distinct_texts(molecules: Molecules) -> None:
    calls: list[tuple[int, int, str]] = []
    molecules.prepare(["CC", "CCO", "CC", "xx", None], progress=lambda *call: calls.append(call))
    assert calls[-1] == (3, 3, "reading molecules")
