"""`metamedica report`: an evaluation's JSON -> its page."""

from pathlib import Path
from typing import Annotated

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._evaluation import read_evaluation, write_page


def command(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The evaluation.json that 'metamedica evaluate' wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Page to write: .html.")],
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Make the page of an evaluation again.

    For example:

        metamedica report judged/evaluation.json --out report.html

    The page is one self-contained file: it fetches nothing and runs no
    script.
    """
    session = Session.of(ctx)
    options.check_file(out, (".html", ".htm"), overwrite=overwrite, inputs=(file,))
    evaluation, page = read_evaluation(file)
    write_page(evaluation, page, out)
    session.say(f"Wrote {out}: {len(evaluation.methods):,} methods on {len(set(evaluation.rows['task'])):,} tasks.")
    session.result({"out": str(out), "kind": evaluation.kind, "methods": evaluation.methods, "shots": evaluation.shots})
