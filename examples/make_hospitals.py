"""Make up five hospitals (hospitals.csv) and a sixth: 20 labelled patients (sixth_labelled.csv) and 120 to judge on (sixth_judged.csv).

    python examples/make_hospitals.py

No such patients exist. Who dies is older, has more lactate and a lower blood pressure; the hospitals differ in how many die and in level.
"""

import csv
import random
import sys
from pathlib import Path

SHARES = {"Ash": 0.18, "Birch": 0.3, "Cedar": 0.36, "Elm": 0.45, "Fir": 0.26}
SIXTH_SHARE = 0.4
EACH, LABELLED, JUDGED = 60, 20, 120


def patient(rng: random.Random, level: float, dies: bool) -> dict[str, object]:
    """Return one made-up patient of a hospital whose lactate is measured at this level."""
    return {
        "age": round(min(99, max(18, rng.gauss(72 if dies else 63, 12)))),
        "sex": "female" if rng.random() < 0.45 else "male",
        "pressure": round(rng.gauss(102 if dies else 118, 18)),
        "lactate": "" if rng.random() < 0.12 else round(rng.lognormvariate((1.15 if dies else 0.6) + level, 0.5), 1),
        "sodium": "" if rng.random() < 0.05 else round(rng.gauss(138, 5)),
        "transfer": "yes" if rng.random() < (0.35 if dies else 0.25) else "no",
        "died": "yes" if dies else "no",
    }


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main(folder: Path) -> None:
    """Write the three tables."""
    rng = random.Random(1896)
    earlier = []
    for hospital, share in SHARES.items():
        level = rng.gauss(0, 0.15)
        earlier += [{"hospital": hospital, **patient(rng, level, rng.random() < share)} for _ in range(EACH)]
    write(folder / "hospitals.csv", earlier)
    for name, count in (("labelled", LABELLED), ("judged", JUDGED)):
        write(folder / f"sixth_{name}.csv", [patient(rng, 0.1, rng.random() < SIXTH_SHARE) for _ in range(count)])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
