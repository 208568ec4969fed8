"""Chest X-rays: no finding, COVID-19 or pneumonia, 824 of them; the classes come from different sources, which tells them apart."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "cxr_covid3"
SOURCE = "https://github.com/muhammedtalo/COVID-19 at commit ee3e2cf"
LICENCE = "not stated by its source; part NIH ChestX-ray8, part covid-chestxray with a licence an image"
ATTRIBUTION = "Contains images collected by Ozturk et al. 2020 (Computers in Biology and Medicine 121)."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={"images/cxr_covid3/cxr_covid3_80.npz": "772eec323e005c823dee6de021206a3fe1455d61c87b7670a21ad3f63189b0df"},
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
