"""MUV: 93,127 compounds in 17 screens of PubChem with few actives each (about 27 of 14,800), with the few-shot split of PAR.

The split has 12 meta-train tasks and 5 meta-test tasks.
"""

from metamedica.data.catalogue._wide import SPLIT_SOURCE, WideSet

NAME = "muv"
SOURCE = f"https://github.com/deepchem/deepchem at commit fbe3b91, datasets/muv.csv.gz; {SPLIT_SOURCE}"
LICENCE = "not stated by its authors (drawn from PubChem BioAssay); MIT (the repository)"
ATTRIBUTION = "Contains the MUV sets (Rohrer and Baumann 2009), in the selection of MoleculeNet (Wu et al. 2018)."
SET = WideSet(
    NAME,
    SOURCE,
    digests={
        "molecules/muv/muv.csv.gz": "91b291cc98817576fcc889177d5198950e1d42d2514f9a5eca8e7be2e186ef36",
        "molecules/muv/tasks.csv": "4cae6510da3e4356a79e668d54817ec1079360fd6c1234eee3b40ca7a5012c88",
    },
)
files, table, load = SET.files, SET.table, SET.load
