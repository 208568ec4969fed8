"""`metamedica models`: the methods and encoders there are, the models that ship, and a model's card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session


def command(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A model: the name of one that ships, or a folder. Shows its card."),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List methods, encoders and the models that ship; with a name, show that model's card.

    metamedica models
    metamedica models my-model-folder
    """
    session = Session.of(ctx)
    if name is not None:
        _show(session, name)
        return

    from metamedica import registry
    from metamedica.meta_learner import shipped_models

    learners = [_learner(each) for each in registry.names("learners")]
    encoders = [_about("encoders", each) for each in registry.names("encoders")]
    modalities = [_about("modalities", each) for each in registry.names("modalities")]
    shipped = shipped_models()
    session.table(
        "Methods (--learner)",
        ["name", "tasks", "about"],
        [
            (each["name"], " ".join(kind[:3] for kind in each["kinds"]), f"{each['about']} ({each['source']})")
            for each in learners
        ],
    )
    session.table("Encoders (--encoder)", ["name", "about"], [(each["name"], each["about"]) for each in encoders])
    session.table(
        "Kinds of case (--modality)", ["name", "about"], [(each["name"], each["about"]) for each in modalities]
    )
    session.say(f"Models that ship: {', '.join(shipped) or 'none'}.")
    session.result({"learners": learners, "encoders": encoders, "modalities": modalities, "shipped": shipped})


def _about(room: str, name: str) -> dict[str, Any]:
    """Return the name and the first line of the docstring of a module; of one whose package is missing, the pip line."""
    import importlib

    from metamedica.errors import MissingExtraError

    try:
        module = importlib.import_module(f"metamedica.{room}.{name}")
    except MissingExtraError as error:
        return {"name": name, "about": str(error)}
    return {"name": name, "about": (module.__doc__ or "").strip().split("\n")[0]}


def _learner(name: str) -> dict[str, Any]:
    from dataclasses import asdict

    from metamedica import registry

    about = _about("learners", name)
    made = registry.learner_class(name)
    paper = made.paper
    return {
        **about,
        "kinds": sorted(made.kinds),
        "paper": asdict(paper),
        "source": f"{paper.authors} {paper.year}, {paper.link}",
    }


def _show(session: Session, name: str) -> None:
    from metamedica.meta_learner import MetaLearner, model_folder

    folder = model_folder(name)
    about: Mapping[str, Any] = MetaLearner.load(folder).as_dict()
    card = folder / "CARD.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if text:
        session.markdown(text)
    else:
        session.say(f"{folder} has no card. It is a {about['learner']} model for {about['modality']}.")
    session.result({"model": str(Path(name)) if Path(name).exists() else name, "card": text, **about})
