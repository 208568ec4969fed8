"""ToxCast: 8,615 compounds in 518 assays, active or not, with the few-shot split of PAR (99 of the 617 assays are dropped there).

The split has 362 meta-train tasks and 156 meta-test tasks.
"""

from metamedica.data.catalogue._wide import SPLIT_SOURCE, WideSet

NAME = "toxcast"
SOURCE = f"https://github.com/deepchem/deepchem, examples/toxcast/processing/toxcast_data.csv.gz; {SPLIT_SOURCE}"
LICENCE = "not stated by its source (ToxCast: US EPA); MIT (the repository)"
ATTRIBUTION = (
    "Contains data of ToxCast (US EPA, Richard et al. 2016), in the selection of MoleculeNet (Wu et al. 2018)."
)
SET = WideSet(
    NAME,
    SOURCE,
    digests={
        "molecules/toxcast/toxcast.csv.gz": "c0ed63d452ed54555ed09ba214a965c89ab2aeb57e2c18f2b0179135e0ece823",
        "molecules/toxcast/tasks.csv": "4cc437e100fe6737801d482e4bdef5e65404cae34482cdfa6f5bc268b6ea710b",
    },
)
files, table, load = SET.files, SET.table, SET.load
