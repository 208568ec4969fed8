"""Hospitals whose patients differ in prevalence only: age and a marker tell who dies."""

import numpy as np
import pandas as pd

COLUMNS = ["age", "marker"]


def hospital(name: str, prevalence: float, n: int, *, seed: int) -> pd.DataFrame:
    """Return patients with columns age, marker, died (yes or no) and site."""
    random = np.random.default_rng(seed)
    died = random.random(n) < prevalence
    age = np.round(60 + 10 * random.standard_normal(n) + 8 * died, 1)
    marker = np.round(2 + random.standard_normal(n) + 1.5 * died, 3)
    return pd.DataFrame({"age": age, "marker": marker, "died": np.where(died, "yes", "no"), "site": name})


def hospitals() -> pd.DataFrame:
    """Return six earlier hospitals."""
    shares = enumerate((0.15, 0.3, 0.4, 0.5, 0.65, 0.8))
    return pd.concat([hospital(f"H{i}", share, 80, seed=i) for i, share in shares], ignore_index=True)
