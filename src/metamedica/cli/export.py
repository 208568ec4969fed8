"""`metamedica export`: a predictor as one ONNX file, for places without PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session


def command(
    ctx: typer.Context,
    predictor: Annotated[Path, typer.Argument(metavar="PREDICTOR", help="Folder that 'metamedica adapt' wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write, such as predictor.onnx.")],
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write a predictor as one ONNX file that runs where there is no PyTorch.

    For example:

        metamedica export predictor --out predictor.onnx

    TensorFlow shops, browsers, C++ and Java run it with onnxruntime or any
    other runtime of ONNX. In go featurised cases, as many as you like; out
    come class probabilities, or mean and standard deviation in the unit of
    the measured cases: the same numbers as those of 'metamedica predict'.

    Beside it stand predictor.onnx.md, which says how to run it and how the
    input is made, and predictor.onnx.json, which says so to programs.

    The file comes from the measured cases, and may hold some as they are:
    keep it as you keep them. Needs: pip install 'metamedica[export]'
    """
    session = Session.of(ctx)

    from metamedica.predictors.export.drawing import onnx_package
    from metamedica.predictors.export.file import SUFFIX, sidecars
    from metamedica.predictors.predictor import Predictor

    options.check_file(out, (SUFFIX,), overwrite=overwrite)
    for path in sidecars(out):
        options.check_file(path, (path.suffix,), overwrite=overwrite)
    onnx_package()
    loaded = Predictor.load(predictor)
    about = loaded.export_onnx(out)
    size = out.stat().st_size / 1e6
    session.table(
        "Inputs",
        ["name", "shape", "type"],
        [(name, f"cases x {told['columns']}", told["type"]) for name, told in about["inputs"].items()],
    )
    session.table("Outputs", ["name", "about"], list(about["outputs"].items()), wide=["about"])
    session.say(
        f"Wrote {out}: {size:.1f} MB, opset {about['opset']}; onnxruntime gives the predictor's numbers to {about['difference']:.0e}."
    )
    session.say(f"How to run it: {sidecars(out)[1]}")
    session.say("It comes from the measured cases: keep it as you keep them.")
    session.result({"out": str(out), "bytes": out.stat().st_size, **about})
