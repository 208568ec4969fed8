"""IQ-OTH/NCCD: 1,097 slices of chest CT: normal, benign, malignant. Neighbouring numbers are neighbouring slices: split by blocks."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "iq_oth_nccd"
SOURCE = "https://github.com/Yusshiro/IQ-OTHNCCD-lung-cancer-detection at commit 4cbd7c9"
LICENCE = "not stated by its source"
ATTRIBUTION = "Contains images of the Iraq-Oncology Teaching Hospital / National Center for Cancer Diseases (2019)."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={
        "images/iq_oth_nccd/iq_oth_nccd_160.npz": "c35be1b74f32301fbaf2a64ed528e59b2767419199c6e0f6dd33636adbc44eeb"
    },
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
