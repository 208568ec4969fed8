"""Metamedica learns from the many small tasks that medicine already has, so that a new one needs only a handful of labelled cases.

import metamedica as mm

tasks = mm.TaskCollection.from_table("assays.parquet", modality="molecules", case="smiles", target="pki", task="target_id",
                                     kind="regression", unit="-log10 M")
model = mm.MetaLearner().fit(tasks)
predictor = model.adapt(smiles_16, pki_16)
predictor.predict(library)
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metamedica.data.collection import Task, TaskCollection
    from metamedica.errors import MetamedicaError
    from metamedica.meta_learner import MetaLearner, shipped_models
    from metamedica.predictors.predictor import Predictor
    from metamedica.predictors.trust import Trust
    from metamedica.reports.evaluation import Evaluation
    from metamedica.reports.protocols.fsmol import evaluate

_HOME = {
    "Evaluation": "metamedica.reports.evaluation",
    "MetaLearner": "metamedica.meta_learner",
    "MetamedicaError": "metamedica.errors",
    "Predictor": "metamedica.predictors.predictor",
    "Task": "metamedica.data.collection",
    "TaskCollection": "metamedica.data.collection",
    "Trust": "metamedica.predictors.trust",
    "evaluate": "metamedica.reports.protocols.fsmol",
    "shipped_models": "metamedica.meta_learner",
}

__all__ = [
    "Evaluation",
    "MetaLearner",
    "MetamedicaError",
    "Predictor",
    "Task",
    "TaskCollection",
    "Trust",
    "evaluate",
    "shipped_models",
]
__version__ = version("metamedica")


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import metamedica` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'metamedica' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
