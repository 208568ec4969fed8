"""What the processes of a test do together: each function is called in every one of them with the job's folder and its rank."""

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import tiny_learning
import tiny_training as tiny
from metamedica.cli import main
from metamedica.outer_gradient import outer_gradient
from metamedica.ranks import joined
from metamedica.schedule import TrainingSettings
from metamedica.training import train
from metamedica.types import TaskKind
from metamedica.validation import mean_log_likelihood


def gradients(
    folder: Path,
    rank: int,
    *,
    names: list[tuple[str, TaskKind]],
    tasks: int,
    accumulate: int,
    dropout: float,
    double: bool,
) -> None:
    """Leave the outer gradients of learners in `<rank>.safetensors`."""
    if double:
        torch.set_default_dtype(torch.float64)
    settings, found = TrainingSettings(accumulate=accumulate), {}
    with joined() as ranks:
        for name, kind in names:
            learner, sampler = (
                tiny_learning.learner(name, dropout=dropout).train(),
                tiny_learning.sampler(kind, tasks=tasks),
            )
            loss = outer_gradient(learner, sampler.roster(0), [5, 0], settings, ranks)
            found[name] = tiny_learning.gradient(learner)
            found[f"{name} loss"] = torch.tensor([loss])
    save_file(found, folder / f"{rank}.safetensors")


def training(
    folder: Path,
    rank: int,
    *,
    changes: dict[str, Any],
    checkpoints: str | None = None,
    resume: bool = False,
    die_at: int | None = None,
    dropout: float = 0.2,
    slowly: bool = False,
) -> None:
    """Train the tiny learner; leave its weights, history and what progress told."""
    model = tiny.learner(dropout=dropout)
    if rank > 0:
        with torch.no_grad():
            model.log_noise += rank  # the first process's weights are what counts

    def progress(done: int, total: int, message: str) -> None:
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()
        if done == die_at:
            signal.raise_signal(signal.SIGKILL)
        if slowly:
            time.sleep(0.05)

    result = train(
        model,
        tiny.sampler(),
        tiny.validation(),
        replace(tiny.SHORT, **changes),
        checkpoints=None if checkpoints is None else Path(checkpoints),
        resume=resume,
        progress=progress,
    )
    save_file({name: value.clone() for name, value in model.state_dict().items()}, folder / f"{rank}.safetensors")
    (folder / f"history{rank}").write_text(repr(result.history))


def scores(folder: Path, rank: int) -> None:
    """Leave the bits of the meta-valid score."""
    with joined() as ranks:
        score = mean_log_likelihood(tiny.learner(), tiny.validation(), ranks)
    (folder / f"score{rank}").write_text(score.hex())


def messages(folder: Path, rank: int) -> None:
    """Try what processes say to each other, twice over, and inside each other."""
    for turn in range(2):
        with joined() as ranks, joined() as inner:
            assert (ranks.rank, ranks.size, inner.rank, inner.size) == (rank, 3, rank, 3)
            assert ranks.sum_(torch.tensor([1.0, rank])).tolist() == [3.0, 3.0]
            assert ranks.any(rank == 2)
            assert not ranks.any(False)
            assert ranks.from_first(b"from %d" % rank) == b"from 0"
            assert ranks.from_first(b"") == b""
            weights = torch.full((2,), float(rank))
            ranks.copy_first_([weights])
            assert weights.tolist() == [0.0, 0.0]
            note = folder / f"note{turn}"
            ranks.first_only(lambda note=note: note.write_text("done"))
            assert note.read_text() == "done"
            came = ranks.machine_by_machine(lambda note=note: (note.with_suffix(".first").exists(), _touch(note))[0])
            assert came == (rank > 0)
            (folder / f"spoke{turn}-{rank}").write_text(str(ranks.first_to_speak()))


def _touch(note: Path) -> None:
    note.with_suffix(".first").touch()


def one_fails(folder: Path, rank: int, *, who: int) -> int:
    """One process fails in its own way between two messages; the others learn it from the broken connection."""
    try:
        with joined() as ranks:
            try:
                ranks.any(False)
                if rank == who:
                    raise ValueError("my own reason")
                ranks.any(False)
            except Exception as error:
                if ranks.first_to_speak():
                    sys.stderr.write(f"{type(error).__name__}: {error}\n")
                raise
    except Exception:  # noqa: BLE001 - told above
        return 3
    return 0


def command(folder: Path, rank: int, *, arguments: list[str]) -> int:
    """Run one command as torchrun would, in the job's folder."""
    return main(arguments)


def refused(folder: Path, rank: int) -> None:
    """Train with another seed in each process."""
    train(tiny.learner(), tiny.sampler(seed=rank), tiny.validation(), tiny.SHORT)
