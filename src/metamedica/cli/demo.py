"""`metamedica demo`: the main job on real molecules, in two scenes, with nothing but what is installed."""

import time
from pathlib import Path
from typing import Annotated

import typer

from metamedica.cli import _options as options
from metamedica.cli._console import Session


def command(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder for the report; made where missing.")
    ] = Path("demo"),
    draws: Annotated[
        int, typer.Option("--draws", metavar="N", min=2, help="Random supports of 16 compounds a scene.")
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the supports and of the training.")] = 0,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Rank compounds from 16 measured ones, on real data: once where earlier tasks help, once where they do not.

    metamedica demo --out demo

    Scene 1 fits on 29 ChEMBL sets (from the MoleculeACE package), adapts to the
    kappa-opioid receptor and ranks the rest. Scene 2 adapts the model that ships
    to a single compound series (from the rdkit package). Takes about two minutes
    on two cores and writes FOLDER/report.html.
    """
    session = Session.of(ctx)
    from metamedica.applications import demo

    with session.progress("demo") as progress:
        scenes, value = demo.run(out, draws=draws, seed=seed, clock=time.perf_counter, progress=progress)
    for scene, title in zip(scenes, ("Scene 1: where earlier tasks help", "Scene 2: where they do not"), strict=True):
        table = demo.table_of_scene(scene)
        session.table(
            f"{title} ({scene.name}, {scene.shots} measured compounds)", list(table.columns), table.to_numpy().tolist()
        )
        session.say(demo.sentence(scene))
        session.say(f"Trust: {scene.verdict}")
    session.say(f"\nReport: {value['report']}")
    session.result(value)
