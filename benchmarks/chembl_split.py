"""The meta-split of chembl691 that the shipped model and the benchmarks use, committed as lists of target ids.

Targets that share more than 30 % of their molecules (Jaccard) are grouped; groups are dealt 70 / 10 / 20 to meta-train, meta-valid and
meta-test (seed 0). The molecules of meta-test targets are taken out of the other two sides, those of meta-valid out of meta-train.

    python -m benchmarks.chembl_split        writes benchmarks/chembl691_split.json
"""

import json
from pathlib import Path

from metamedica.data.catalogue import chembl691
from metamedica.data.collection import TaskCollection
from metamedica.data.splits import molecule_disjoint, split_by_overlap
from metamedica.storage import replace_file
from metamedica.types import META_SPLITS

PATH = Path(__file__).with_name("chembl691_split.json")


def load_split() -> TaskCollection:
    """Return chembl691 with the committed split; molecules may still stand on several sides."""
    listed = json.loads(PATH.read_text(encoding="utf-8"))
    split = {name: side for side in META_SPLITS for name in listed[side]}
    return chembl691.load().with_split(split)


def load_disjoint() -> TaskCollection:
    """Return chembl691 with the committed split and every molecule on one side only."""
    return molecule_disjoint(load_split())


def main() -> None:
    """Draw the split and write it."""
    drawn = split_by_overlap(chembl691.load(), share=0.3, fractions=(0.7, 0.1, 0.2), seed=0)
    listed = {side: sorted(drawn.names(side)) for side in META_SPLITS}
    replace_file(PATH, (json.dumps(listed, indent=1) + "\n").encode())
    print({side: len(names) for side, names in listed.items()})


if __name__ == "__main__":
    main()
