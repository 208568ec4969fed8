"""BCCD: 450 red cells, white cells and platelets cut out of blood smears."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "bccd_crops"
SOURCE = "https://github.com/Shenggan/BCCD_Dataset at commit d272fb1"
LICENCE = "MIT"
ATTRIBUTION = "Contains images of the BCCD dataset of Shenggan and cosmicad."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={"images/bccd_crops/bccd_crops_40.npz": "cb43f6fe29cd7bfc72dee4e663b9bac71918633116fadfc70f89f0735b903fa1"},
    group="image",
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
