"""A predictor as tensors and documents, and back. The labelled cases are in it: it is as personal as they are."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metamedica.errors import BundleError, InputError
from metamedica.predictors.calibration import check_calibration
from metamedica.predictors.support import Support
from metamedica.types import CaseBatch, LabelledBatch

if TYPE_CHECKING:
    from metamedica.predictors.predictor import Predictor


def parts(predictor: "Predictor") -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return (tensors, documents) of the model and of the labelled cases."""
    tensors, documents = predictor.model.parts()
    support = predictor.support
    blocks: dict[str, Tensor] = {f"block.{name}": block for name, block in support.batch.features.items()}
    blocks["targets"] = support.batch.targets
    if support.batch.about is not None:
        blocks["about"] = support.batch.about
    if support.unlabelled is not None:
        blocks |= {f"unlabelled.{name}": block for name, block in support.unlabelled.features.items()}
    documents["predictor"] = {
        "canonical": support.canonical,
        "classes": list(support.classes) if support.classes is not None else None,
        "unit": support.unit,
        "kind": support.kind,
        "unread": support.unread,
        "guard": predictor.guard,
        "calibration": predictor.calibration,
        "trust": predictor.trust.as_dict(),
    }
    return {**tensors, "support": blocks}, documents


def read_parts(
    tensors: dict[str, dict[str, Tensor]], documents: dict[str, Any], *, source: str
) -> tuple[Support, dict[str, Any]]:
    """Return the labelled cases, and the settings that the predictor was made with.

    Raises:
        BundleError: they are not those of a predictor; `source` is named.
    """
    try:
        saved, blocks = documents["predictor"], tensors["support"]
        features, unlabelled = (
            {name.removeprefix(part): value for name, value in blocks.items() if name.startswith(part)}
            for part in ("block.", "unlabelled.")
        )
        classes = tuple(saved["classes"]) if saved["classes"] is not None else None
        targets = blocks["targets"]
        batch = LabelledBatch(
            CaseBatch(features, torch.ones(targets.shape, dtype=torch.bool)),
            targets,
            saved["kind"],
            None if classes is None else len(classes),
            blocks.get("about"),
        )
        others = None
        if unlabelled:
            size = next(iter(unlabelled.values())).shape[:2]
            others = CaseBatch(unlabelled, torch.ones(size, dtype=torch.bool))
        support = Support(
            list(saved["canonical"]),
            batch,
            classes,
            saved["unit"],
            unlabelled=others,
            unread=dict(saved.get("unread", {})),
        )
        calibration = check_calibration(saved.get("calibration", "none"))
        return support, {"guard": bool(saved["guard"]), "calibration": calibration}
    except (KeyError, TypeError, InputError) as error:
        raise BundleError(f"{source} does not describe a predictor that this version can build ({error})") from error
