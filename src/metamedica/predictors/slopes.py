"""The gradient of a predictor's answer in what a network saw, and through a learned encoder in its last maps: what Grad-CAM needs of a predictor.

Taken before any map that sets probabilities right: such a map never turns an order round, and a step function has no gradient.
"""

import copy
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import InputError, TaskError
from metamedica.functional.class_activation import watched
from metamedica.functional.inner_loop.learner import InnerLoopLearner
from metamedica.functional.mixture import mix
from metamedica.functional.targets import law_in_units
from metamedica.predictors.answers import log_odds
from metamedica.predictors.calibration import AdaptedCalibrated
from metamedica.predictors.guard import AdaptedMixture
from metamedica.predictors.method import Adapted, AdaptedLearner
from metamedica.types import CaseBatch, Encoder, Features, Law

if TYPE_CHECKING:
    from metamedica.predictors.predictor import Predictor

_DIFFERS = 1e-6
"""Change of a logit from which an answer depends on a block."""

_OTHERS = 16
"""Labelled cases whose block is tried in another's place."""


class Slopes:
    """The log-odds of a class as a function that gradients pass through.

    Args:
        predictor: of classes.
        adapted: what it answers by.
        block: that the gradient is taken in: `network`, or `image` for a learned encoder.

    Raises:
        TaskError: a regression.
        InputError: no answer depends on such a block, or a learner's does and has no gradient.
    """

    def __init__(self, predictor: "Predictor", adapted: Adapted, block: str) -> None:
        if predictor.classes is None:
            raise TaskError("got a regression task, and Grad-CAM tells of a class; use explain")
        self._block = block
        self._rows = predictor.support.rows
        self._adapted = adapted.inner if isinstance(adapted, AdaptedCalibrated) else adapted
        self._learner = predictor.model.spec.learner
        if block not in self._rows:
            raise InputError(
                f"the learner {self._learner!r} reads no block {block!r}, so that no network's share can be shown; use explain"
            )
        leaves = list(_leaves(self._adapted))
        reads = [self._reads(leaf) for leaf in leaves]
        if not any(reads):
            raise InputError(
                f"no answer of this predictor depends on what a network sees (block {block!r}); its reasons are those of explain alone"
            )
        for leaf, does in zip(leaves, reads, strict=True):
            if does and not self._has_gradient(leaf):
                raise InputError(
                    f"the learner {type(leaf.learner).__name__} answers without a gradient, so that Grad-CAM cannot tell of it; use explain, "
                    "or fit another learner"
                )

    def in_block(self, features: Features, index: int) -> Float[Tensor, "cases size"]:
        """Return the gradient of the log-odds of a class in the block, for each case.

        Args:
            features: blocks `[cases, size]`.
            index: of the class.
        """
        asked = features[self._block].float().clone().requires_grad_()
        found = self._log_odds(self._adapted, {**features, self._block: asked}, index)
        (slopes,) = torch.autograd.grad(found.sum(), [asked])
        return slopes

    def heat(self, features: Features, index: int) -> Float[Tensor, "high wide"]:
        """Return the heat map of one case over the last maps of the learned encoder, for the log-odds of a class.

        Args:
            features: blocks `[1, size]`, `image` among them.
            index: of the class.

        Raises:
            InputError: the encoder has no feature maps, or is run in a way that cannot be watched.
        """
        own, encoder = self._copied()
        asked = features[self._block].float().clone().requires_grad_()
        with watched(encoder) as seen:
            found = self._log_odds(own, {**features, self._block: asked}, index)
        return seen.heat(found[0])

    def _log_odds(self, adapted: Adapted, features: Features, index: int) -> Float[Tensor, " cases"]:
        law = _law(adapted, _batch(features))
        assert isinstance(law, Categorical)
        found: Tensor = log_odds(law, index)[0]
        return found

    def _reads(self, leaf: AdaptedLearner) -> bool:
        """Return whether the learner's answer for a labelled case changes where the block is another labelled case's."""
        others = self._rows[self._block][:_OTHERS]
        case = {name: block[:1].expand(len(others), -1) for name, block in self._rows.items()}
        law = leaf.predict(_batch({**case, self._block: others}))
        assert isinstance(law, Categorical)
        chance = torch.log_softmax(law.logits[0], dim=-1)
        return bool((chance - chance[:1]).abs().amax() > _DIFFERS)

    def _copied(self) -> tuple[Adapted, Encoder]:
        """Return the answer with a copy of the learner that looks at images, and the copy's encoder, which may be watched.

        Raises:
            InputError: none, or several encoders look at images.
        """
        parts = self._adapted.parts if isinstance(self._adapted, AdaptedMixture) else [self._adapted]
        own: list[Adapted] = []
        found: list[Encoder] = []
        for part in parts:
            assert isinstance(part, AdaptedLearner)
            learner = copy.deepcopy(part.learner)
            encoders = [each for each in learner.modules() if isinstance(each, Encoder) and self._block in _named(each)]
            found += encoders
            if isinstance(learner, InnerLoopLearner):
                learner.chunk = 1  # the same numbers without vmap, under which nothing can be watched
            own.append(AdaptedLearner(learner, part.state, part.scale) if encoders else part)
        if len(found) != 1:
            raise InputError(
                f"{len(found)} encoders of the learner {self._learner!r} look at images, and Grad-CAM tells of one; use explain"
            )
        mixture = self._adapted
        return (AdaptedMixture(own, mixture.weighed) if isinstance(mixture, AdaptedMixture) else own[0]), found[0]

    def _has_gradient(self, leaf: AdaptedLearner) -> bool:
        features = {name: block[:1] for name, block in self._rows.items()}
        features[self._block] = features[self._block].float().clone().requires_grad_()
        try:
            law = _law(leaf, _batch(features))
        except RuntimeError:  # a tensor that asks for a gradient was turned into an array
            return False
        return isinstance(law, Categorical) and law.logits.requires_grad


def _named(encoder: Encoder) -> tuple[str, ...]:
    """Return what the encoder's constructor asks for, which is what it reads of a case."""
    return tuple(inspect.signature(type(encoder)).parameters)


def _batch(features: Features) -> CaseBatch:
    blocks = {name: (block.float() if block.is_floating_point() else block)[None] for name, block in features.items()}
    size = len(next(iter(features.values())))
    return CaseBatch(blocks, torch.ones(1, size, dtype=torch.bool))


def _law(adapted: Adapted, query: CaseBatch) -> Law:
    """Return what `adapted.predict` does, with gradients."""
    if isinstance(adapted, AdaptedMixture):
        return mix([_law(part, query) for part in adapted.parts], adapted.weighed.weights)
    (leaf,) = _leaves(adapted)
    with torch.enable_grad():
        return law_in_units(leaf.learner.predict(leaf.state, query), leaf.scale)


def _leaves(adapted: Adapted) -> Iterator[AdaptedLearner]:
    """Return the learners that the answer is made of.

    Raises:
        InputError: an answer of another make.
    """
    if isinstance(adapted, AdaptedLearner):
        yield adapted
    elif isinstance(adapted, AdaptedMixture):
        for part in adapted.parts:
            yield from _leaves(part)
    else:
        raise InputError(f"no gradient is known of answers of {type(adapted).__name__}; use explain")
