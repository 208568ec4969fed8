"""MedNIST: 1,200 images of six kinds of examination, which tell apart easily."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "mednist_subset"
SOURCE = "https://github.com/apolanco3225/Medical-MNIST-Classification at commit a8942ee"
LICENCE = "not stated by its source (MONAI's tutorials state CC BY-SA 4.0)"
ATTRIBUTION = "Contains images of MedNIST, gathered by B. Erickson (Mayo Clinic) from TCIA, RSNA and NIH sets."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={
        "images/mednist_subset/mednist_subset_64.npz": "f8873e6c43b68332917352894a77cf6baa0c2b81032478006ff6873b33df90e5"
    },
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
