"""Measure how much each number of a block of images varies within a set, and write it where the modality reads it.

    python -m benchmarks.make_image_spreads       writes src/metamedica/modalities/images/spreads.safetensors (2 minutes)

On sets whose licence allows it: common red cells (Chula RBC-12, MIT), blood cells (BCCD, MIT), slices of two CT volumes (TotalSegmentator's test
files, Apache-2.0), chest X-rays of children (PneumoniaMNIST, CC BY 4.0).
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save

from benchmarks.make_image_models import cells_sets, lung_sets
from metamedica.modalities.images import Images
from metamedica.modalities.images.encoding import BY_SPREAD
from metamedica.modalities.images.spreads import FILE, spread_of
from metamedica.storage import replace_file

ROOM = Path(__file__).parents[1] / "src" / "metamedica" / "modalities" / "images"


def main() -> None:
    """Measure and write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    reader = Images()
    features = [reader.prepare(list(each.images)).features for each in (*cells_sets(), *lung_sets())]
    found = {name: spread_of([each[name] for each in features]) for name in BY_SPREAD}
    replace_file(ROOM / FILE, save(found))
    print(json.dumps({name: [len(values), round(float(values.median()), 5)] for name, values in found.items()}))


if __name__ == "__main__":
    main()
