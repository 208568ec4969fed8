"""Scottish Health Survey: a cardiovascular condition, 8,804 adults of 312 areas (12 to 43 in each)."""

from metamedica.data.catalogue._declared import DeclaredSet

NAME = "scottish_survey"
SOURCE = "https://github.com/vincentarelbundock/Rdatasets at commit 1dcc2bf, csv/CardioDataSets"
LICENCE = "GPL-3 (the package that carries it)"
ATTRIBUTION = "Contains data of the Scottish Health Survey, as the R package CardioDataSets has them."
SET = DeclaredSet(
    NAME,
    SOURCE,
    digests={
        "clinical/r_tables/CardioDataSets__scottish_CVD_df.csv.gz": "ed762fb2d213d63e927a23ed7c6be350ed06408aa48b2a0f797e15c85db6f757",
    },
)
files, declared, table, load = SET.files, SET.declared, SET.table, SET.load
