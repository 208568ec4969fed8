"""What a predictor says of itself: how far it leans on earlier tasks, on which, and why."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metamedica.functional.case_effects import content_hash
from metamedica.functional.descriptions import Descriptions, gathered_descriptions
from metamedica.types import LabelledBatch, Modality, RawEncoder

NOTHING = 0.1
PARTLY = 0.5
_FEWEST_PATIENTS = 10
"""Of a task with fewer, no mean of its cases is kept where each case is its own (a patient)."""


@dataclass(frozen=True)
class NearTask:
    """An earlier task and how much its cases look like the support's, or its description like the task's, 0 to 1."""

    name: str
    similarity: float


@dataclass(frozen=True)
class Trust:
    """How far a predictor leans on what earlier tasks taught.

    Args:
        weight: share of the prediction that comes from the learned method, 0 to 1; the rest is the best method from scratch.
        gain: leave-one-out log-likelihood per support case of the learned method minus that of the best method from scratch, in nats;
            positive where earlier tasks explain the support better.
        candidates: weight of every candidate by name.
        cohesion: mean similarity between the support's cases, 0 to 1; high for one tight series, where earlier tasks rarely help.
        seen: share of the support's cases that earlier tasks have measured too, 0 to 1; where it is high, earlier tasks help most. None where
            every case is its own (patients).
        nearest: the earlier tasks whose cases look most like the support's; where the task is described, those described most like it.
        compared: false where the labels show fewer than two classes, from which the methods from scratch that guard the learned one
            learn nothing: they are left out, with weight 0.
        scratch: whether the method itself is one from scratch, so that there was nothing to weigh.
    """

    weight: float
    gain: float
    candidates: dict[str, float]
    cohesion: float
    seen: float | None
    nearest: tuple[NearTask, ...]
    compared: bool = True
    scratch: bool = False
    described: bool = False
    """Whether `nearest` are so by their descriptions."""

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        if self.scratch:
            return "The method starts from scratch with every task: what earlier ones taught is at most how a case is seen."
        if self.weight < NOTHING:
            return (
                f"Leans on nothing learned ({self.weight:.0%}): earlier tasks do not explain these cases better, so the prediction "
                "is that of the method from scratch."
            )
        much = "partly" if self.weight < PARTLY else "mostly"
        known = "" if self.seen is None else f", which have measured {self.seen:.0%} of these cases too"
        near = ", ".join(task.name for task in self.nearest[:3])
        nearest = f"; the nearest{' by description' if self.described else ''} are {near}" if near else ""
        alone = "" if self.compared else "; the labels show fewer than two classes, so no method from scratch has a say"
        return f"Leans {much} on earlier tasks ({self.weight:.0%}){known}{nearest}{alone}."

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {**asdict(self), "nearest": [asdict(task) for task in self.nearest], "verdict": self.verdict}


@dataclass(frozen=True)
class EarlierTasks:
    """Names and mean raw vectors of the meta-training tasks, hashes of their cases and their descriptions, to say what a new support shares."""

    names: list[str]
    centroids: Float[Tensor, "earlier dim"]
    known: Int64[Tensor, " cases"]
    descriptions: Descriptions = field(default_factory=Descriptions)

    @classmethod
    def of(cls, tasks: Iterable[tuple[str, LabelledBatch]], modality: Modality) -> "EarlierTasks":
        """Return what is remembered of earlier tasks: nothing where the cases of two tasks cannot be compared. Of patients no hash is kept, and
        no mean of so few that it tells of one.

        Args:
            tasks: name, and all cases as a batch of one task.
            modality: of the cases.
        """
        raw = modality.raw_encoder()
        fewest = 1 if modality.legible else _FEWEST_PATIENTS
        names, centroids, known = [], [torch.zeros(0, raw.dim)], [torch.zeros(0, dtype=torch.int64)]
        about: list[Tensor | None] = []
        for name, cases in tasks if modality.comparable else ():
            vectors = raw(cases.features)[0]
            if len(vectors) < fewest:
                continue
            names.append(name)
            about.append(None if cases.about is None else cases.about[0])
            centroids.append(vectors.mean(0, keepdim=True))
            if modality.legible:
                known.append(content_hash(vectors))
        descriptions = Descriptions.from_state(gathered_descriptions(about))
        return cls(names, torch.cat(centroids), torch.unique(torch.cat(known)), descriptions)

    @cached_property
    def _sorted(self) -> Int64[Tensor, " cases"]:
        return self.known.sort().values

    def seen(self, raw: RawEncoder, support: LabelledBatch) -> Float[Tensor, " tasks"]:
        """Return the share of each support's cases that an earlier task has measured too (equal raw vectors)."""
        if len(self.known) == 0:
            return torch.zeros(len(support.mask))
        hashes = content_hash(raw(support.features))
        at = torch.searchsorted(self._sorted, hashes).clamp(max=len(self.known) - 1)
        found = (self._sorted[at] == hashes) & support.mask
        return found.sum(1) / support.counts().clamp(min=1)

    def near(self, raw: RawEncoder, rows: Float[Tensor, "n dim"], *, top: int = 5) -> tuple[NearTask, ...]:
        """Return the earlier tasks whose mean raw vector is most similar to the mean of `rows`, most similar first."""
        if not self.names or len(rows) == 0:
            return ()
        return self._first(raw.similarity(rows.mean(0, keepdim=True), self.centroids.to(rows.dtype))[0], top)

    def described_like(self, about: Float[Tensor, " size"], *, top: int = 5) -> tuple[NearTask, ...]:
        """Return the earlier tasks that are described most like this (`functional/descriptions`), most alike first."""
        return self._first(self.descriptions.likeness(about[None])[0], top) if self.descriptions else ()

    def _first(self, similarity: Float[Tensor, " earlier"], top: int) -> tuple[NearTask, ...]:
        best = torch.argsort(similarity, descending=True, stable=True)[:top]
        return tuple(NearTask(self.names[int(i)], round(float(similarity[i]), 4)) for i in best)
