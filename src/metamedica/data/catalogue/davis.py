"""Davis: dissociation constants of 68 kinase inhibitors on 442 kinases and mutants, every pair measured.

The kinases are named by gene. The values are pKd; seven of ten are 5: no binding was seen at 10 µM.
"""

from metamedica.data.catalogue._kinases import Panel

NAME = "davis"
SOURCE = (
    "https://github.com/hkmztrk/DeepDTA at commit a546a84, data/davis; "
    "Davis et al. 2011, https://doi.org/10.1038/nbt.1990"
)
LICENCE = "not stated by its source"
ATTRIBUTION = (
    "Contains data of Davis et al. 2011 (Nature Biotechnology 29), as laid out for DeepDTA (Öztürk et al. 2018)."
)
UNIT = "-log10 M"
PANEL = Panel(
    NAME,
    SOURCE,
    digests={
        "molecules/davis/drugs.csv": "00f34178605632b2a66465e66c635cc7f18bc45ef0ba5c198e4a99448bef1401",
        "molecules/davis/targets.csv.gz": "74cb6dcfc1b6cb4b42fa38c5d7364dccb2336e57384df92a6638ff7fe16248aa",
        "molecules/davis/pairs.csv.gz": "2bf0020b67249c4e838ba1ed84a46ccf8fd2643a10bd823eedd8c5cc79bfa8bf",
    },
    value="pkd",
    unit=UNIT,
)
files, table, sequences, load = PANEL.files, PANEL.table, PANEL.sequences, PANEL.load
