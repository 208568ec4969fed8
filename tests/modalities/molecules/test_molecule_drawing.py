import re
from xml.etree import ElementTree

import pytest

from metamedica.errors import CaseError, InputError
from metamedica.modalities.molecules import Molecules
from metamedica.modalities.molecules.crew import Limits
from metamedica.modalities.molecules.drawing import svg, weighted_svg

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def colours(picture: str) -> list[tuple[int, int, int]]:
    """The fills of the highlighted atoms, in drawing order."""
    return [
        (int(hexes[0:2], 16), int(hexes[2:4], 16), int(hexes[4:6], 16))
        for hexes in re.findall(r"<ellipse[^>]*fill:#([0-9A-F]{6})", picture)
    ]


@pytest.mark.parametrize("text", [ASPIRIN, "C", "N[C@@H](C)C(=O)O", "C[N+](C)(C)C", "F/C=C\\F", "[2H]C"])
def test_a_drawing_is_one_well_formed_svg_element_of_the_asked_size(text: str) -> None:
    root = ElementTree.fromstring(svg(text, width=300, height=200))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("width"), root.get("height")) == ("300", "200")
    assert root.get("aria-label") == text
    assert len(root) > 0 or text == "C"


def test_a_drawing_is_small_and_always_the_same() -> None:
    picture = svg(ASPIRIN)
    assert picture == svg(ASPIRIN)
    assert len(picture) < 6_000
    assert "<?xml" not in picture
    assert "<!--" not in picture


def test_characters_of_markup_in_the_text_are_escaped() -> None:
    picture = svg("N->[Pt]")
    assert 'aria-label="N-&gt;[Pt]"' in picture
    ElementTree.fromstring(picture)


def test_the_modality_draws_the_same_picture(molecules: Molecules) -> None:
    assert molecules.draw(ASPIRIN, width=100, height=80) == svg(ASPIRIN, width=100, height=80)


def test_the_modality_draws_molecules_with_many_rings_and_refuses_monsters(harmless: str, monster: str) -> None:
    assert Molecules().draw(harmless).startswith("<svg")
    with pytest.raises(CaseError, match="takes more than 1 s"):
        Molecules(Limits(seconds=1.0)).draw(monster)


@pytest.mark.parametrize("text", ["", "xx", "<script>", "*C", "C C"])
def test_what_is_no_molecule_is_not_drawn(text: str) -> None:
    with pytest.raises(CaseError, match="cannot draw"):
        svg(text)


def test_weights_shade_atoms_orange_above_zero_and_blue_below() -> None:
    shades = colours(weighted_svg("CCO", [1.0, 0.0, -1.0]))
    assert len(shades) == 3
    (r1, _, b1), middle, (r3, _, b3) = shades
    assert r1 > b1
    assert middle == (255, 255, 255)
    assert b3 > r3


def test_only_the_ratios_of_weights_matter() -> None:
    assert weighted_svg("CCO", [1.0, 0.5, -0.25]) == weighted_svg("CCO", [4.0, 2.0, -1.0])


@pytest.mark.parametrize("weights", [[], [1.0], [1.0, 2.0, 3.0, 4.0], [1.0, float("nan"), 0.0]])
def test_weights_that_do_not_fit_the_atoms_are_refused(weights: list[float]) -> None:
    with pytest.raises(InputError, match="give one finite number per atom"):
        weighted_svg("CCO", weights)


def test_a_picture_without_size_is_refused() -> None:
    with pytest.raises(InputError, match="0 x 10 pixels"):
        svg("CCO", width=0, height=10)
