"""Heart disease: is a coronary artery narrowed? 920 patients of four hospitals (UCI), 36 to 94 % of whom have it."""

from metamedica.data.catalogue._declared import DeclaredSet

NAME = "heart"
SOURCE = (
    "https://github.com/rsbaher/udemy-heart-disease-2023 at commit 6f565ae (the four processed.*.data files, stacked)"
)
LICENCE = "CC BY 4.0 (as stated by FLamby for the UCI set)"
ATTRIBUTION = (
    "Contains the heart disease data of Janosi (Budapest), Steinbrunn (Zurich), Pfisterer (Basel) "
    "and Detrano (Long Beach and Cleveland), of Detrano et al. 1989 (American Journal of Cardiology "
    "64)."
)
SET = DeclaredSet(
    NAME,
    SOURCE,
    digests={
        "clinical/heart_disease_4sites/heart_disease_4sites.csv.gz": "dbd447cb3779c1c5f38cb1c1e12a06d25cdcb91b29b69cabf30d5e499a36b17b",
    },
)
files, declared, table, load = SET.files, SET.declared, SET.table, SET.load
