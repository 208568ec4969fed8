"""White blood cells, first stain: 300 images of five kinds with masks of nucleus and cytoplasm."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "wbc_stain1"
SOURCE = "https://github.com/zxaoyou/segmentation_WBC at commit fa9c016"
LICENCE = "GPL-3.0"
ATTRIBUTION = "Contains images of Zheng et al. 2018 (Micron 107) from Jiangxi Tecom Science Corporation."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={"images/wbc_seg/wbc_dataset1_96.npz": "fa539e880c27f3b5bbe95da5214793deda36831ce466c4230e5dedd652df347c"},
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
