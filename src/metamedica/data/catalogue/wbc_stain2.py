"""White blood cells, second stain: 100 images of five kinds with masks of nucleus and cytoplasm."""

from metamedica.data.catalogue._pictures import PictureSet

NAME = "wbc_stain2"
SOURCE = "https://github.com/zxaoyou/segmentation_WBC at commit fa9c016"
LICENCE = "GPL-3.0"
ATTRIBUTION = "Contains images of Zheng et al. 2018 (Micron 107) from the CellaVision blog."
SET = PictureSet(
    NAME,
    SOURCE,
    digests={"images/wbc_seg/wbc_dataset2_96.npz": "62f2faea428c0ac976144e07269c2ea33d8bc3065927115dc573135c8168705a"},
)
files, arrays, table, load = SET.files, SET.arrays, SET.table, SET.load
