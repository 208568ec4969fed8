"""COVID-CT: 746 slices of chest CT out of papers, with COVID-19 or without, of 384 patients; official split by patient."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "covid_ct"
SOURCE = "https://github.com/Coronavirus-Visualization-Team/CVT_COVID-CT-CNN at commit 24d2b48; split and patients of https://github.com/UCSD-AI4H/COVID-CT"
LICENCE = "the papers' authors and publishers hold the rights: for research"
ATTRIBUTION = "Contains images of COVID-CT (Zhao et al. 2020, arXiv:2003.13865)."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={"images/covid_ct/covid_ct_192.npz": "fd83184a893b85679a3cd2123aad8a0a1cd5eb522756ab95ce7f6a6f904eaa1d"},
    group="patient",
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
