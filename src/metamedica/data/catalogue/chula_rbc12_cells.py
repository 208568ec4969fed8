"""Chula RBC-12: 1,950 red blood cells of 13 shapes cut out of 513 blood smears; some shapes are naturally rare."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "chula_rbc12_cells"
SOURCE = "https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset at commit fa130f4"
LICENCE = "MIT"
ATTRIBUTION = "Contains images of Naruenatthanaset et al. 2020 (arXiv:2012.01321)."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={
        "images/chula_rbc12_cells/chula_rbc12_cells_40.npz": "0191054f5110d24737de55803f8f6db77a20097386fdd4f0ea9518a931112d54"
    },
    group="smear",
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
