"""DRIVE: 40 images of the retina with masks of the vessels, 20 of them by a second observer too."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "drive_vessels"
SOURCE = "https://github.com/mipple1986/data at commit 92b9449"
LICENCE = "not stated by its source: for research"
ATTRIBUTION = "Contains images of DRIVE (Staal et al. 2004, IEEE Transactions on Medical Imaging 23)."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={
        "images/drive_vessels/drive_green_half_282x292.npz": "a8932ea4c4079a6cad25bd80fd72ae27fc57abea88925c7e8f09a715061064ae"
    },
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
