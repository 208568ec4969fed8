"""A new clinic with 20 labelled patients: adapt the shipped model `heart` to it and predict 40 others. The patients are made up.

    python examples/new_clinic.py

The clinic differs from the hospitals that taught the model: fewer ill patients, no column `thal`, a column `troponin` of its own.
"""

from pathlib import Path

import pandas as pd

from metamedica import MetaLearner

FOLDER = Path(__file__).parent

labelled = pd.read_csv(FOLDER / "new_clinic.csv")
others = pd.read_csv(FOLDER / "new_patients.csv")

model = MetaLearner.load("heart")
predictor = model.adapt(labelled.drop(columns="narrowed"), labelled["narrowed"], positive="yes")

print("How cells were read:")
for remark in predictor.support.remarks:
    print(f"- {remark}")

print("\nWhat the prediction leans on:")
print(predictor.trust.verdict)
for name, weight in predictor.trust.candidates.items():
    print(f"- {name}: {weight:.2f}")

table = predictor.predict_table(others)
print(
    f"\nOf {len(table)} others, {(table['p_yes'] > 0.5).sum()} probably have a narrowed artery; the five at highest risk:"
)
print(table.sort_values("p_yes", ascending=False).head()[["case", "p_yes", "similarity"]].to_string(index=False))
print(f"Mean risk: {table['p_yes'].mean():.2f}; ill among the labelled: {(labelled['narrowed'] == 'yes').mean():.2f}")
