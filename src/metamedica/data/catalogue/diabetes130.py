"""Diabetes in 130 US hospitals: readmission within 30 days by specialty; variant any_readmission: at any time."""

from metamedica.data.catalogue._declared import DeclaredSet

NAME = "diabetes130"
SOURCE = "https://archive.ics.uci.edu/dataset/296"
LICENCE = "CC BY 4.0 (as UCI lists it)"
ATTRIBUTION = (
    "Contains the data of Strack et al. 2014 (BioMed Research International, article 781670), 130 US "
    "hospitals, 1999 to 2008."
)
SET = DeclaredSet(
    NAME,
    SOURCE,
    digests={
        "clinical/diabetes_130_us_hospitals/diabetic_data.csv.gz": "356486d63457b04802fd827134ba7234a8d58d96b2bf0c1448f2b52221b4d0a1",
    },
)
files, declared, table, load = SET.files, SET.declared, SET.table, SET.load
