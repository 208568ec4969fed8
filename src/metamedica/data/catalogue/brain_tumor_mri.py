"""Brain tumours on MRI: none, glioma, meningioma, pituitary; 3,171 slices, most of the test part with a twin in the training part."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "brain_tumor_mri"
SOURCE = "https://github.com/SartajBhuvaji/Brain-Tumor-Classification-DataSet at commit 3ea9f4e"
LICENCE = "not stated by its source"
ATTRIBUTION = "Contains images of the Brain Tumor Classification set of Bhuvaji et al."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={
        "images/brain_tumor_mri/brain_tumor_mri_64.npz": "549bbd1941bc0f000a71e0f62a0b14cd24c4989e0ffef38cd74c284a5548d336"
    },
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
