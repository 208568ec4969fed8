"""SIDER: 1,427 approved drugs and 27 classes of side effects, reported or not, with the few-shot split of PAR.

The split has 21 meta-train tasks and 6 meta-test tasks.
"""

from metamedica.data.catalogue._wide import SPLIT_SOURCE, WideSet

NAME = "sider"
SOURCE = (
    f"https://github.com/GLambard/Molecules_Dataset_Collection at commit beb35cd, originals/sider.csv; {SPLIT_SOURCE}"
)
LICENCE = "CC BY-NC-SA 4.0 (SIDER: not for commercial use); MIT (the repository)"
ATTRIBUTION = (
    "Contains data of SIDER 4.1 (http://sideeffects.embl.de, Kuhn et al. 2016, CC BY-NC-SA 4.0), in the selection of "
    "MoleculeNet (Wu et al. 2018)."
)
SET = WideSet(
    NAME,
    SOURCE,
    digests={
        "molecules/sider/sider.csv.gz": "ebf65c641eaaaf1702e39faaadde886bfc8c5245fa34c4a55087327dabddead7",
        "molecules/sider/tasks.csv": "1f7a6791cd8aa1ca487ff9b364273582d538a5091401c045c9ccad4dcbfc7e1e",
    },
)
files, table, load = SET.files, SET.table, SET.load
