"""eICU demo: death in hospital from the first day in intensive care, 186 hospitals; variant region: four regions of the USA."""

from metamedica.data.catalogue._declared import DeclaredSet

NAME = "eicu_demo"
SOURCE = "https://physionet.org/content/eicu-crd-demo/2.0.1/"
LICENCE = "ODbL 1.0 (derived tables too)"
ATTRIBUTION = (
    "Contains data of the eICU Collaborative Research Database Demo 2.0.1 (Pollard et al. 2018, "
    "Scientific Data 5; PhysioNet)."
)
SET = DeclaredSet(
    NAME,
    SOURCE,
    digests={
        "clinical/eicu_demo_v2.0.1/patient.csv.gz": "15e1eb52169828e3cfff3b67132a087298de4d0365bbb31bb294f6043bffd474",
        "clinical/eicu_demo_v2.0.1/hospital.csv.gz": "4ed356f9c4e7c8ce80e89241697e94b77f21c2f325cd6ad126794b1e92805ef4",
        "clinical/eicu_demo_v2.0.1/apacheApsVar.csv.gz": "2dc6d63f9807c7e663ffa253998691605d527b702ac1db8cc5dda92308061e78",
        "clinical/eicu_demo_v2.0.1/apachePredVar.csv.gz": "99d5a4ab2c5cd07b6ee0a540c86a576e5975ed3b93df8525e3d287d5babf3eae",
    },
)
files, declared, table, load = SET.files, SET.declared, SET.table, SET.load
