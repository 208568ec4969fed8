"""The files of an export: NAME.onnx, and beside it NAME.onnx.json for programs and NAME.onnx.md for people."""

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical

from metamedica.errors import FileFormatError, MetamedicaError, MissingExtraError
from metamedica.functional.inner_loop.chain_forms import all_laid_out
from metamedica.functional.inner_loop.networks import AdaptedNetworks
from metamedica.predictors.export.drawing import OPSET, onnx_package
from metamedica.predictors.export.operators import drawn
from metamedica.predictors.export.trace import trace
from metamedica.predictors.guard import AdaptedMixture
from metamedica.predictors.method import Adapted, AdaptedLearner
from metamedica.predictors.model import FittedModel
from metamedica.storage import replace_file
from metamedica.types import CaseBatch, Features

if TYPE_CHECKING:
    from onnx import ModelProto

    from metamedica.predictors.predictor import Predictor

SUFFIX = ".onnx"
TOLERANCE = 1e-4
"""Largest difference, of probabilities or in standard units, at which a file is written; usual is 1e-6."""
_FORMAT = 1
_SIZES = (7, 11)
"""Cases of the two runs that a trace is made from."""


def sidecars(path: Path) -> tuple[Path, Path]:
    """Return the files for programs and for people that stand beside an export."""
    return path.with_name(path.name + ".json"), path.with_name(path.name + ".md")


def answers(adapted: Adapted, features: Features) -> dict[str, Tensor]:
    """Return what a predictor says of cases, by output name, in single precision.

    Classes: `probabilities` `[cases, classes]`; regression: `mean` and `standard_deviation` `[cases]`, in the task's unit.

    Args:
        adapted: to one task.
        features: blocks `[cases, size]`.
    """
    batch = {name: block[None] for name, block in features.items()}
    mask = torch.ones(next(iter(batch.values())).shape[:2], dtype=torch.bool)
    law = adapted.predict(CaseBatch(batch, mask))
    if isinstance(law, Categorical):
        found = {"probabilities": law.probs}
    else:
        found = {"mean": law.mean, "standard_deviation": law.stddev}
    return {name: value[0].to(torch.float32) for name, value in found.items()}


def onnx_model(adapted: Adapted, features: Features, *, notes: Mapping[str, str] | None = None) -> "ModelProto":
    """Return an adapted method as an ONNX model: inputs are the blocks, float32, with any number of cases; outputs as `answers` names them.

    Args:
        adapted: to one task.
        features: blocks `[cases, size]` of some cases, such as the labelled ones; their values do not enter the model.
        notes: metadata of the model.

    Raises:
        InputError: it uses what ONNX cannot say.
        MissingExtraError: `onnx` is not installed.
    """
    onnx_package()
    plain = _without_support(adapted)

    def some(count: int, step: int) -> Features:
        rows = torch.arange(count) * step
        return {name: block[rows % len(block)].to(torch.float32) for name, block in features.items()}

    traced = trace(lambda blocks: answers(plain, blocks), some(_SIZES[0], 1), some(_SIZES[1], 3))
    return drawn(traced, dict(notes or {}))


def _without_support(adapted: Adapted) -> Adapted:
    """Return the same method with each task's parameters laid out: the file then holds a network, not labelled cases beside one."""
    if isinstance(adapted, AdaptedMixture):
        return AdaptedMixture([_without_support(part) for part in adapted.parts], adapted.weighed)
    if isinstance(adapted, AdaptedLearner) and isinstance(adapted.state, AdaptedNetworks):
        return AdaptedLearner(adapted.learner, all_laid_out(adapted.state), adapted.scale)
    return adapted


def run(model: bytes, features: Features) -> dict[str, NDArray[np.float32]]:
    """Return what onnxruntime says of cases, by output name.

    Args:
        model: of `onnx_model`, as bytes.
        features: blocks `[cases, size]`.

    Raises:
        MissingExtraError: `onnxruntime` is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "onnxruntime", "export") from error
    if sys.platform == "win32":
        onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    wanted = {each.name for each in session.get_inputs()}
    given = {name: block.to(torch.float32).numpy() for name, block in features.items() if name in wanted}
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, given), strict=True))


def difference(found: Mapping[str, NDArray[np.float32]], wanted: Mapping[str, Tensor], *, scale: float = 1.0) -> float:
    """Return the largest difference of two answers: of probabilities, or of means and standard deviations over `scale`."""
    return max(float(np.abs(found[name] - value.numpy()).max(initial=0.0)) for name, value in wanted.items()) / scale


def write(predictor: "Predictor", adapted: Adapted, path: str | Path) -> dict[str, Any]:
    """Write a predictor's three files and return what the JSON says; the ONNX file comes last, so that where it is, all are.

    Args:
        predictor: whose task it is.
        adapted: its method.
        path: of the ONNX file.

    Raises:
        FileFormatError: the name does not end with `.onnx`.
        InputError: it uses what ONNX cannot say.
        MissingExtraError: `onnx` or `onnxruntime` is not installed.
        MetamedicaError: onnxruntime does not give the predictor's numbers; nothing is written.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise FileFormatError(f"got the name {path.name!r} for an ONNX file; give one that ends with {SUFFIX}")
    known = predictor.support.rows
    model = onnx_model(adapted, known)
    about = _about(predictor, model, known)
    nothing = {name: torch.zeros(1, block.shape[1]) for name, block in known.items()}
    data = model.SerializeToString()
    scale = float(_units(adapted))
    away = max(difference(run(data, blocks), answers(adapted, blocks), scale=scale) for blocks in (known, nothing))
    if not away <= TOLERANCE:
        raise MetamedicaError(
            f"onnxruntime differs from the predictor by {away:.1g}, at most {TOLERANCE:g} was wanted, so nothing was written; "
            "predict with Metamedica itself"
        )
    about["difference"] = away
    about["check"] = {
        "input": "one case whose blocks are all 0",
        "outputs": {name: value.tolist() for name, value in run(data, nothing).items()},
    }
    onnx_package().helper.set_model_props(model, {"metamedica": json.dumps(about, sort_keys=True)})
    data = model.SerializeToString()
    about["sha256"] = hashlib.sha256(data).hexdigest()
    for_programs, for_people = sidecars(path)
    replace_file(for_programs, (json.dumps(about, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    replace_file(for_people, readme(path.name, about).encode())
    replace_file(path, data)
    return about


def _units(adapted: Adapted) -> float:
    """Return the scale of the task's targets; 1 for classes."""
    part = adapted.parts[0] if isinstance(adapted, AdaptedMixture) else adapted
    return float(part.scale.scale[0]) if isinstance(part, AdaptedLearner) else 1.0


def digest(model: FittedModel) -> str:
    """Return a SHA-256 of all that a fitted model is made of."""
    tensors, documents = model.parts()
    found = hashlib.sha256(json.dumps(documents, sort_keys=True).encode())
    for stem, named in sorted(tensors.items()):
        for name, value in sorted(named.items()):
            found.update(f"{stem}.{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _about(predictor: "Predictor", model: "ModelProto", labelled: Features) -> dict[str, Any]:
    modality = predictor.model.modality
    outputs = {
        "probabilities": "[cases, classes] float32, columns in the order of classes",
        "mean": f"[cases] float32, the expected value in {predictor.unit or 'the unit of the labelled cases'}",
        "standard_deviation": "[cases] float32, in the same unit; mean -+ half_width_90 times it holds 90 %",
    }
    return {
        "format": _FORMAT,
        "made_with": f"metamedica {version('metamedica')}",
        "opset": OPSET,
        "kind": predictor.kind,
        "unit": predictor.unit,
        "classes": list(predictor.classes) if predictor.classes is not None else None,
        "labelled_cases": len(predictor.support.canonical),
        "learner": predictor.model.spec.learner,
        "weights": predictor.trust.candidates,
        "model_sha256": digest(predictor.model),
        "modality": {"name": modality.name, "version": modality.version},
        "inputs": {
            name: {
                "columns": int(block.shape[1]),
                "type": "float32",
                "made": modality.recipe.get(name, "see the modality"),
            }
            for name, block in labelled.items()
        },
        "outputs": {each.name: outputs[each.name] for each in model.graph.output},
        "half_width_90": _half_width(predictor),
        "personal_data": "The constants of this file were computed from the labelled cases, and some methods keep them as they are "
        "(a prototype of one case is that case): keep the file as you keep the cases.",
    }


def _half_width(predictor: "Predictor") -> float | None:
    """Return how many standard deviations a 90 % interval reaches to each side; None for classes."""
    if predictor.classes is not None:
        return None
    return round(float(predictor.certainty.half_widths(None, 0.9)[0]), 4)


def readme(name: str, about: Mapping[str, Any]) -> str:
    """Return the Markdown that says how to run an export, for a file of this name."""
    task = about["kind"] + (f", in {about['unit']}" if about["unit"] else "")
    blocks = ", ".join(
        f'"{block}": np.zeros((1, {told["columns"]}), np.float32)' for block, told in about["inputs"].items()
    )
    if about["kind"] == "regression":
        answer = [
            'mean, deviation = session.run(["mean", "standard_deviation"], blocks)',
            f"low, high = mean - {about['half_width_90']} * deviation, mean + {about['half_width_90']} * deviation  # a 90 % interval",
            "print(mean, low, high)",
        ]
    else:
        answer = [
            f"classes = {json.dumps(about['classes'])}",
            '(probabilities,) = session.run(["probabilities"], blocks)',
            "print([classes[best] for best in probabilities.argmax(1)], probabilities)",
        ]
    weights = ", ".join(f"{part} {weight:.0%}" for part, weight in about["weights"].items())
    modality = about["modality"]
    lines = [
        f"# {name}",
        "",
        f"A predictor for one task ({task}), adapted to {about['labelled_cases']} labelled cases: {weights}.",
        f"It needs no PyTorch: any runtime of ONNX (opset {about['opset']}) runs it. `{name}.json` says all this to programs.",
        "",
        f"**Personal data.** {about['personal_data']}",
        "",
        "Research use only; not a medical device.",
        "",
        "## Run it",
        "",
        "```python",
        "import numpy as np",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{name}", providers=["CPUExecutionProvider"])',
        f"blocks = {{{blocks}}}  # one row a case, as many as you like",
        *answer,
        "```",
        "",
        f"This prints the answer to one case whose columns are all 0; `check` in `{name}.json` has the same numbers.",
        "",
        "## Inputs",
        "",
        *(
            f"- `{block}` [cases, {told['columns']}] {told['type']}: {told['made']}"
            for block, told in about["inputs"].items()
        ),
        "",
        f"Where Metamedica is installed, it makes them ({modality['name']}, version {modality['version']}):",
        "",
        "```python",
        "from metamedica import registry",
        "",
        f'prepared = registry.modality("{modality["name"]}").prepare(CASES)',
        "blocks = {name: block[prepared.row].float().numpy() for name, block in prepared.features.items()}",
        "```",
        "",
        "A case with a problem (`prepared.problems`) has no row; leave it out first.",
        "",
        "## Outputs",
        "",
        *(f"- `{output}` {told}" for output, told in about["outputs"].items()),
        "",
    ]
    return "\n".join(lines)
