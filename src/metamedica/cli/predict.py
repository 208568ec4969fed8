"""`metamedica predict`: a predictor and a list of cases -> the cases, ranked, with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session
from metamedica.cli._tables import Library, read_library, told_by_place
from metamedica.errors import CaseError, InputError

if TYPE_CHECKING:
    import pandas as pd

    from metamedica.predictors.predictor import Predictor

_SHOWN = 10
_NAMED = 3
_OUT = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_RANKING = "Ranking"
_REASONS = "Reasons"
_EXPLAINED = (".html", ".json")
_MOST_EXPLAINED = 1000
_MOST_ON_A_PAGE = 200
_HEAT = 240


def command(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The cases: .csv, .tsv, .txt (plain or .gz), .parquet; molecules also .smi and .sdf."
        ),
    ],
    predictor: Annotated[
        Path, typer.Option("--predictor", metavar="FOLDER", help="Folder that 'metamedica adapt' wrote.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Table to write: .csv, .tsv (plain or .gz) or .parquet.")
    ],
    case: options.CaseColumn = None,
    skip_invalid: options.SkipInvalid = False,
    coverage: Annotated[
        float,
        typer.Option(
            "--coverage",
            metavar="SHARE",
            help="Share of true values that the intervals are to hold.",
            rich_help_panel=_RANKING,
        ),
    ] = 0.9,
    sort: Annotated[
        bool, typer.Option("--sort/--keep-order", help="Best first, or as in the file.", rich_help_panel=_RANKING)
    ] = True,
    low_is_better: Annotated[
        bool,
        typer.Option(
            "--low-is-better",
            help="Best is the lowest value (an IC50 in nM), not the highest.",
            rich_help_panel=_RANKING,
        ),
    ] = False,
    top: Annotated[
        int | None, typer.Option("--top", metavar="N", min=1, help="Write only so many rows.", rich_help_panel=_RANKING)
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain",
            metavar="FILE",
            help="Say why, for each case that is written: .html (a page) or .json; and a column in the table.",
            rich_help_panel=_REASONS,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Predict every case of a list, best first, with intervals and the most similar measured case.

    For example:

        metamedica predict library.csv --predictor predictor --out ranked.csv
        metamedica predict library.sdf --predictor predictor --out ranked.parquet

    The table has the file's own columns ("row" is the row in the file) and:

        canonical         the case in standard form
        prediction        the expected value, or the most probable label
        low, high         an interval (values)
        p_LABEL           the probability of each label (classes)
        nearest_labelled  the most similar measured case
        similarity        to it, 0 to 1: far from all of them, it is a guess

    With --explain it also has:

        explanation       the parts of the case that raise or lower the number

    Of images that are seen through a network, the file of --explain shows
    Grad-CAM beside the patches: where the network alone sees what speaks for
    the class.

    Best is the highest value (--low-is-better: the lowest), or the highest
    probability of the positive label; of several labels, the most certain.
    """
    session = Session.of(ctx)
    if not 0 < coverage < 1:
        raise InputError(f"--coverage got {coverage:g}; give a number between 0 and 1, such as 0.9")
    if low_is_better and not sort:
        raise InputError("--low-is-better came with --keep-order; name one of them")
    options.check_file(out, _OUT, overwrite=overwrite, inputs=(file,))
    if explain is not None:
        options.check_file(explain, _EXPLAINED, overwrite=overwrite, inputs=(file, out), option="--explain")

    from metamedica.data.tables import write_table
    from metamedica.predictors.predictor import Predictor

    loaded = Predictor.load(predictor)
    if low_is_better and loaded.kind != "regression":
        raise InputError(f"--low-is-better is for values and this predictor is {loaded.kind}; leave it out")
    library = read_library(file, loaded.model.modality, case=case)
    with session.progress("reading cases") as progress:
        frame = loaded.predict_table(library.cases, coverage=coverage, skip_invalid=True, progress=progress)
    if library.shown is not None:
        frame["case"] = library.shown
    remarks = _told_of_rows(loaded, library, frame)
    left_out = _left_out(frame, library, file, skip_invalid=skip_invalid)
    table = _joined(library, frame)
    by = _merit(loaded, frame)
    if sort:
        table = table.iloc[
            by.rename("merit").sort_values(ascending=low_is_better, kind="stable", na_position="last").index
        ]
    written = table if top is None else table.head(top)
    explained = 0
    if explain is not None:
        written, explained = _explained(session, loaded, library, frame, written, explain)
    write_table(written, out)
    _show(session, loaded, table, coverage)
    session.remarks(remarks)
    session.left_out(left_out)
    session.say(f"Wrote {out}: {len(written):,} of {len(library.cases):,} cases{', best first' if sort else ''}.")
    if explain is not None:
        session.say(f"Wrote {explain}: why, for {explained:,} case{'' if explained == 1 else 's'}.")
    session.result(
        {
            "out": str(out),
            "explain": None if explain is None else str(explain),
            "explained": explained,
            "kind": loaded.kind,
            "unit": loaded.unit,
            "classes": loaded.classes,
            "coverage": coverage if loaded.kind == "regression" else None,
            "cases": len(library.cases),
            "written": len(written),
            "left_out": left_out,
            "remarks": remarks,
            "sorted": sort,
            "first": [
                {str(key): value for key, value in row.items()}
                for row in written.head(_SHOWN).to_dict(orient="records")
            ],
        }
    )


def _explained(
    session: Session,
    predictor: "Predictor",
    library: Library,
    frame: "pd.DataFrame",
    written: "pd.DataFrame",
    path: Path,
) -> "tuple[pd.DataFrame, int]":
    """Write why for each case of `written` that has a prediction; return the table with a column of sentences, and the number of cases.

    Raises:
        InputError: more cases than a person reads.
    """
    import json

    from metamedica.reports.explained import write_explanations
    from metamedica.reports.grad_cam import grad_cam, refusal
    from metamedica.storage import replace_file

    good = [at for at in written.index if not frame["problem"].iloc[at]]
    most = _MOST_ON_A_PAGE if path.suffix == ".html" else _MOST_EXPLAINED
    if len(good) > most:
        raise InputError(
            f"--explain got {len(good):,} cases and a {path.suffix} file takes at most {most:,}; add --top {most}"
        )
    explanations, maps = [], []
    images = predictor.model.modality.name == "images"
    refused = refusal(predictor) if images else ""
    with session.progress("explaining cases") as progress:
        for done, at in enumerate(good, start=1):
            explanations += predictor.explain(library.cases[at : at + 1])
            if images and not refused:
                maps += grad_cam(predictor, [explanations[-1].case], label=explanations[-1].label)
            if progress is not None:
                progress(done, len(good), "explaining cases")
    places = [library.place(at) for at in good]
    if path.suffix == ".html":
        headings = [f"{place}: {frame['prediction'].iloc[at]}" for place, at in zip(places, good, strict=True)]
        beside = [[each.figure(size=_HEAT)] for each in maps] if maps else None
        remark = f"No Grad-CAM: {refused}." if refused else ""
        write_explanations(
            path, explanations, predictor.model.modality, headings=headings, beside=beside, remark=remark
        )
    else:
        told = [{"place": place, **each.as_dict()} for place, each in zip(places, explanations, strict=True)]
        for value, heat in zip(told, maps, strict=bool(maps)):
            value["grad_cam"] = heat.as_dict()
        for value in told if refused else ():
            value["grad_cam"] = {"refused": refused}
        replace_file(path, (json.dumps(told, ensure_ascii=False, indent=1) + "\n").encode())
    written = written.rename(columns={"explanation": "explanation (input)"})
    sentences = dict(zip(good, (each.sentence for each in explanations), strict=True))
    return written.assign(explanation=[sentences.get(at, "") for at in written.index]), len(good)


def _told_of_rows(predictor: "Predictor", library: Library, frame: "pd.DataFrame") -> list[str]:
    """Return what was read otherwise than it stands there, by its row in the file, and name the column of each problem in `frame`."""
    bad = (frame["problem"] != "").any()
    if predictor.model.modality.distinct or not (bad or frame.attrs["remarks"]):
        return list(frame.attrs["remarks"])
    prepared = predictor.model.prepare(library.cases)
    for problem in prepared.problems:
        frame.loc[problem.position, "problem"] = f"column {problem.text!r}: {problem.reason}"
    return [told_by_place(remark, library.place) for remark in prepared.remarks]


def _left_out(frame: "pd.DataFrame", library: Library, file: Path, *, skip_invalid: bool) -> dict[str, int]:
    """Return how many cases have no prediction.

    Raises:
        CaseError: there are any and `skip_invalid` is false, or there is no other.
    """
    bad = [int(position) for position in (frame["problem"] != "").to_numpy().nonzero()[0]]
    if not bad:
        return {}
    if skip_invalid and len(bad) < len(frame):
        return {"invalid cases": len(bad)}
    shown = "; ".join(f"{library.place(at)}{_shown(library, at)}{frame['problem'].iloc[at]}" for at in bad[:_NAMED])
    more = f"; and {len(bad) - _NAMED:,} more" if len(bad) > _NAMED else ""
    advice = (
        "give at least one that can be"
        if len(bad) == len(frame)
        else "mend them, or add --skip-invalid to leave them out"
    )
    raise CaseError(f"{file.name}: {len(bad):,} of {len(frame):,} cases cannot be read: {shown}{more}; {advice}")


def _shown(library: Library, at: int) -> str:
    """Return what stands between a case's place and its problem: the case as a text; nothing of a row, which is a person's."""
    return f" ({_short((library.shown or library.cases)[at])!r}): " if isinstance(library.cases, list) else ", "


def _short(text: str, *, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _joined(library: Library, frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the file's columns and the predictions side by side; a column of the file that has a prediction's name is marked."""
    import pandas as pd

    about = library.about.rename(
        columns={name: f"{name} (input)" for name in frame.columns if name in library.about.columns}
    )
    if not (frame["problem"] != "").any():
        frame = frame.drop(columns="problem")
    numbers = frame.select_dtypes("float64").astype(
        "float32"
    )  # the digits that the model has, so that a CSV shows no others
    return pd.concat([about, frame.assign(**{str(name): numbers[name] for name in numbers.columns})], axis=1)


def _merit(predictor: "Predictor", frame: "pd.DataFrame") -> "pd.Series[Any]":
    """Return what the ranking goes by: the value, the positive class's probability, or the greatest probability."""
    if predictor.classes is None:
        return frame["prediction"].astype(float)
    if predictor.kind == "binary":
        return frame[f"p_{predictor.classes[1]}"]
    return frame[[f"p_{label}" for label in predictor.classes]].max(axis=1)


def _show(session: Session, predictor: "Predictor", table: "pd.DataFrame", coverage: float) -> None:
    unit = f" in {predictor.unit}" if predictor.unit else ""
    first = table.head(_SHOWN)
    if predictor.classes is None:
        columns, title = ["prediction", "low", "high"], f"Predictions{unit}, with {coverage:.0%} intervals"
    elif predictor.kind == "binary":
        columns, title = ["prediction", f"p_{predictor.classes[1]}"], "Predictions"
    else:
        columns, title = ["prediction", *(f"p_{label}" for label in predictor.classes[:3])], "Predictions"
    names = ["name"] if "name" in table.columns and (table["name"] != "").any() else []
    columns = ["row", *names, "case", *columns, "nearest_labelled", "similarity"]
    headings = ["nearest measured" if name == "nearest_labelled" else name for name in columns]
    rows = list(zip(*(first[name].tolist() for name in columns), strict=True))
    session.table(f"{title}: the first {len(rows)}", headings, rows, wide=["name", "case", "nearest measured"])
