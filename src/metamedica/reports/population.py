"""What a model answers before it has seen a labelled case of the task: the population's answer, beside which adaptation is judged."""

import torch
from torch.distributions import Categorical

from metamedica.errors import TaskError
from metamedica.predictors.predictor import Predictor
from metamedica.types import CaseBatch, Features, LabelledBatch, Law


def unadapted(predictor: Predictor, features: Features) -> Law:
    """Return the law of featurised cases by the predictor's model as earlier tasks left it, batch shape `[cases]`.

    Args:
        predictor: whose model is asked.
        features: the modality's blocks, `[cases, size]`.

    Raises:
        TaskError: there is no such answer: a method from scratch, a regression (whose level is the task's own), or a method that has none
            before the first labelled case.
    """
    learner = predictor.model.spec.learner
    if not predictor.model.learner.learns_from_tasks():
        raise TaskError(f"{learner} starts from scratch with every task, so that it has no answer before adapting")
    if predictor.classes is None:
        raise TaskError("the level of a regression is its own task's, so that there is no answer before adapting")
    ready = {
        name: (block.to(torch.float32) if not block.is_floating_point() else block)[None]
        for name, block in features.items()
    }
    nobody = CaseBatch({name: block[:, :1] for name, block in ready.items()}, torch.zeros(1, 1, dtype=torch.bool))
    empty = LabelledBatch(
        nobody,
        torch.zeros(1, 1, dtype=torch.int64),
        predictor.kind,
        len(predictor.classes),
        predictor.support.batch.about,
    )
    method = predictor.model.method(predictor.kind, unit=predictor.unit, guard=False)
    size = next(iter(ready.values())).shape[1]
    try:
        law = method(empty, CaseBatch(ready, torch.ones(1, size, dtype=torch.bool)))
    except TaskError:
        raise TaskError(f"{learner} has no answer before the first labelled cases") from None
    assert isinstance(law, Categorical)
    probability = law.probs[0]
    if not bool(torch.isfinite(probability).all()):
        raise TaskError(f"{learner} has no answer before the first labelled cases")
    if size > 1 and float((probability.amax(0) - probability.amin(0)).max()) < 1e-6:
        raise TaskError(f"{learner} says the same of every case before the first labelled ones")
    return Categorical(probs=probability, validate_args=False)
