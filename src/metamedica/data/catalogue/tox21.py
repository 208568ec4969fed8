"""Tox21: 7,831 compounds in 12 assays of nuclear receptors and stress response, active or not, with the few-shot split of PAR.

The split has 9 meta-train tasks and 3 meta-test tasks (SR-HSE, SR-MMP, SR-p53).
"""

from metamedica.data.catalogue._wide import SPLIT_SOURCE, WideSet

NAME = "tox21"
SOURCE = (
    f"https://github.com/GLambard/Molecules_Dataset_Collection at commit beb35cd, originals/tox21.csv; {SPLIT_SOURCE}"
)
LICENCE = "not stated by its source (Tox21: agencies of the US government); MIT (the repository)"
ATTRIBUTION = (
    "Contains data of the Tox21 Data Challenge 2014 (NIH, EPA and FDA), in the selection of MoleculeNet "
    "(Wu et al. 2018)."
)
SET = WideSet(
    NAME,
    SOURCE,
    digests={
        "molecules/tox21/tox21.csv.gz": "c1c8ca1ec4044198b8940b2b00e2275192e8c6f814d648f2e9c13e90186b1a21",
        "molecules/tox21/tasks.csv": "adc545f4336c7dd4e4007c66621a23ac7ca6caef2f0383b30a36a719427dbf8b",
    },
)
files, table, load = SET.files, SET.table, SET.load
