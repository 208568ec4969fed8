"""Make up a clinic: new_clinic.csv (20 labelled patients) and new_patients.csv (40 more). No such patients exist.

    python examples/make_new_clinic.py

A quarter have the disease (at the hospitals that `heart` learned from, 36 to 94 %); nobody recorded `thal`; `troponin` (ng/L) is the
clinic's own column; cholesterol is in mg/dL, as in the United States, but for one slip in mmol/L among the labelled ones.
"""

import csv
import random
import sys
from pathlib import Path

LABELLED, OTHERS, PREVALENCE = 20, 40, 0.25
PAINS = ("typical angina", "atypical angina", "other pain", "no pain")


def patient(rng: random.Random, ill: bool) -> dict[str, object]:
    """Return one made-up patient; the ill are older, slower at peak exercise, and have more angina and troponin on average."""
    age = round(rng.gauss(61 if ill else 54, 9))
    return {
        "age": age,
        "sex": "male" if rng.random() < (0.75 if ill else 0.55) else "female",
        "cp": rng.choices(PAINS, (1, 1, 2, 7) if ill else (1, 4, 4, 3))[0],
        "trestbps": round(rng.gauss(136 if ill else 131, 16)),
        "chol": "" if rng.random() < 0.1 else round(rng.gauss(225 if ill else 215, 38)),
        "fbs": "yes" if rng.random() < 0.2 else "no",
        "restecg": rng.choices(("normal", "ST-T change", "hypertrophy"), (5, 2, 3) if ill else (7, 1, 2))[0],
        "thalach": round(rng.gauss(208 - age - (22 if ill else 0), 16)),
        "exang": "yes" if rng.random() < (0.6 if ill else 0.15) else "no",
        "oldpeak": round(max(0.0, rng.gauss(1.6 if ill else 0.5, 0.8)), 1),
        "slope": "" if rng.random() < 0.3 else rng.choices(("up", "flat", "down"), (2, 6, 1) if ill else (6, 3, 1))[0],
        "ca": "" if rng.random() < 0.5 else rng.choices((0, 1, 2, 3), (3, 3, 2, 1) if ill else (8, 2, 1, 0))[0],
        "troponin": round(rng.lognormvariate(2.9 if ill else 1.9, 0.6), 1),
    }


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main(folder: Path) -> None:
    """Write both tables."""
    rng = random.Random(1988)
    ill = [number < PREVALENCE * LABELLED for number in range(LABELLED)]
    rng.shuffle(ill)
    labelled = [{**patient(rng, each), "narrowed": "yes" if each else "no"} for each in ill]
    labelled[6]["chol"] = 5.4
    write(folder / "new_clinic.csv", labelled)
    write(folder / "new_patients.csv", [patient(rng, rng.random() < PREVALENCE) for _ in range(OTHERS)])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
