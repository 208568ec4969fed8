"""Thyroid disease: seven diagnoses on the same 3,772 patients; variant referral_source: each diagnosis by who sent the patient."""

from metamedica.data.catalogue._declared import DeclaredSet

NAME = "garvan_thyroid"
SOURCE = (
    "https://github.com/renatopp/arff-datasets at commit c59f172; labels also of https://github.com/EpistasisLab/pmlb"
)
LICENCE = "not stated by its sources (UCI); MIT (the repository of labels)"
ATTRIBUTION = "Contains the thyroid data of the Garvan Institute, Sydney (Quinlan et al. 1987)."
SET = DeclaredSet(
    NAME,
    SOURCE,
    digests={
        "clinical/garvan_thyroid_7tasks/garvan_thyroid_7tasks.csv.gz": "a11fcfaaf1f5496497811862416c5c9eca3e80e18eb1b3862211bb51612519f6",
    },
)
files, declared, table, load = SET.files, SET.declared, SET.table, SET.load
