"""KIBA: scores that join Ki, Kd and IC50 of 2,111 compounds on 229 kinases, 118,254 pairs.

The kinases are named by UniProt accession. The values are KIBA scores, transformed so that higher binds more strongly.
"""

from metamedica.data.catalogue._kinases import Panel

NAME = "kiba"
SOURCE = (
    "https://github.com/hkmztrk/DeepDTA at commit a546a84, data/kiba; "
    "Tang et al. 2014, https://doi.org/10.1021/ci400709d"
)
LICENCE = "not stated by its source"
ATTRIBUTION = "Contains KIBA scores (Tang et al. 2014), as laid out for DeepDTA (Öztürk et al. 2018)."
UNIT = "KIBA score"
PANEL = Panel(
    NAME,
    SOURCE,
    digests={
        "molecules/kiba/drugs.csv": "f8d515663b9dc5699ab2fa8135a82d7b37e689707ca844c76f1a1082b6aa435a",
        "molecules/kiba/targets.csv.gz": "2c4b2147d245747549dcd0ff979fce7c3d57dd2dd3422dec34b676369034686d",
        "molecules/kiba/pairs.csv.gz": "9ac1e41ca10e78826b66cf37f63b184955b4007d0b61b29c9aeb0b14f3dae46d",
    },
    value="kiba_score",
    unit=UNIT,
)
files, table, sequences, load = PANEL.files, PANEL.table, PANEL.sequences, PANEL.load
