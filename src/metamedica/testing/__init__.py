"""The contracts that a learner and a predictor keep, and a small world of vectors to try a learner in.

`check_learner(lambda: on_vectors(MyLearner))` and `check_predictor(predictor, cases)` need no test framework and no data of ours: they raise
`AssertionError` with one sentence.
"""

from metamedica.testing.learner import check_learner
from metamedica.testing.predictor import check_predictor
from metamedica.testing.vectors import (
    N_TASKS,
    SIZE,
    VectorEncoder,
    VectorRaw,
    on_vectors,
    vector_batch,
    vector_episodes,
)

__all__ = [
    "N_TASKS",
    "SIZE",
    "VectorEncoder",
    "VectorRaw",
    "check_learner",
    "check_predictor",
    "on_vectors",
    "vector_batch",
    "vector_episodes",
]
