"""IMPACT: death within six months of a brain injury, 11,022 patients of 15 studies. Missing values were imputed by its authors."""

from metamedica.data.catalogue._declared import DeclaredSet

NAME = "impact"
SOURCE = "https://github.com/cran/metamisc at commit d0bb319, data/impact.rda"
LICENCE = "GPL-3 (the package that carries it)"
ATTRIBUTION = (
    "Contains the IMPACT data of Murray et al. 2007 (Journal of Neurotrauma 24) and Steyerberg et "
    "al. 2008 (PLoS Medicine 5)."
)
SET = DeclaredSet(
    NAME,
    SOURCE,
    digests={
        "clinical/impact_tbi_15studies/impact.csv.gz": "100de93510efbf8c1a5fc4d4c2c9c1f697a5d4c58fcc569411706675eea06021",
    },
)
files, declared, table, load = SET.files, SET.declared, SET.table, SET.load
