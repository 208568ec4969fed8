"""BUSI: 780 ultrasound images of the breast: normal, benign, malignant."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "breast_us_busi"
SOURCE = "https://github.com/TongxinWang0405/BMI702_project at commit 922c946"
LICENCE = "not stated by its source"
ATTRIBUTION = "Contains images of Al-Dhabyani et al. 2020 (Data in Brief 28)."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={"images/breast_us_busi/busi_80.npz": "4f35ed72b8e0c28781c050a3e653ff41a37119e85c212b8964c43a6dd44692d4"},
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
