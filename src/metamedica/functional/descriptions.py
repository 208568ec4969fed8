"""What tasks are about, in words: how near a new task is to each earlier one before any of its labels is seen.

A description (the amino acids of a target, the words of an assay) is the vector of the counts of its three-letter groups, in square roots, so that
a text is known by what it holds and not by its length: the spectrum kernel of sequences (Leslie, Eskin and Noble 2002, The spectrum kernel,
https://pubmed.ncbi.nlm.nih.gov/11928508). Groups that few earlier tasks have tell more, so with D described ones each is weighted by

    rarity_k = log (1 + D) / (1/2 + tasks that have k).

Two descriptions are as like as the cosine of their weighted vectors, and of the earlier tasks t a new one takes after

    w_t = exp(likeness_t / width) / sum_s exp(likeness_s / width).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor

from metamedica.errors import TaskError
from metamedica.functional.fitted import Fitted

SIZE = 8192
"""Columns of a description: three amino acids give 8,000 groups."""
LETTERS = 3
"""Of a group."""
_KEPT = 4096
"""Descriptions whose vectors are kept in memory."""


class ReadsDescriptions(ABC):
    """What a learner adds that compares a new task with earlier ones by what they are about (`LabelledBatch.about`)."""

    @abstractmethod
    def compares_tasks(self) -> bool:
        """Return whether earlier tasks were described and their descriptions tell which of them are near."""


@lru_cache(maxsize=_KEPT)
def described(text: str) -> Float[Tensor, " size"]:
    """Return the vector of a description, `[SIZE]`; letters count alike in upper and lower case, and any run of blanks is one.

    Raises:
        TaskError: it has fewer than three letters.
    """
    if len(text.strip()) < LETTERS:
        raise TaskError(
            f"the description {text.strip()!r} of a task came; give at least {LETTERS} letters (the amino acids of a target, the words of an "
            "assay), or leave it out"
        )
    groups = HashingVectorizer(
        analyzer="char", ngram_range=(LETTERS, LETTERS), n_features=SIZE, norm=None, alternate_sign=False
    )
    counts = groups.transform([" ".join(text.split())]).toarray()[0]
    return torch.from_numpy(counts).sqrt().to(torch.float32)


def stacked(texts: Sequence[str | None]) -> Float[Tensor, "tasks size"] | None:
    """Return the vectors of the descriptions of a batch of tasks, 0 for one without; None where none has any."""
    if not any(texts):
        return None
    return torch.stack([torch.zeros(SIZE) if text is None else described(text) for text in texts])


class _Stored(NamedTuple):
    """Entries of the earlier tasks' vectors."""

    groups: Tensor
    tasks: Tensor
    values: Float[Tensor, " entries"]
    """Weighted by rarity, each task's vector of length 1."""


class Descriptions(Fitted):
    """Those of the earlier tasks. Buffers: those of `_Stored`; `rarity` `[SIZE]`; `count`, the number of earlier tasks. None before `keep`."""

    def __init__(self) -> None:
        whole = torch.zeros(0, dtype=torch.int32)
        super().__init__(
            {
                "groups": whole,
                "tasks": whole.clone(),
                "values": torch.zeros(0),
                "rarity": torch.zeros(0),
                "count": torch.zeros((), dtype=torch.int64),
            }
        )

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> "Descriptions":
        """Return those of a `state_dict`; none where it has none."""
        found = cls()
        found.keep({name: tensors[name] for name, _ in found.named_buffers() if name in tensors})
        return found

    def __bool__(self) -> bool:
        """Return whether an earlier task was described."""
        return len(self["groups"]) > 0

    def likeness(self, about: Float[Tensor, "new size"]) -> Float[Tensor, "new tasks"]:
        """Return the cosine with every earlier task; 0 where either has no description."""
        groups, tasks, values = (self[name] for name in _Stored._fields)
        weighted = about.to(values) * self["rarity"]
        weighted = weighted / weighted.norm(dim=1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
        found = values.new_zeros(len(about), int(self["count"]))
        return found.index_add_(1, tasks.long(), weighted[:, groups.long()] * values)


def gathered_descriptions(about: Sequence[Float[Tensor, " size"] | None]) -> dict[str, Tensor]:
    """Return the buffers of `Descriptions`, from the vector of every earlier task that has one; empty where none has."""
    told = {at: vector.double() for at, vector in enumerate(about) if vector is not None and bool(vector.any())}
    if not told:
        return {}
    vectors = torch.stack(list(told.values()))
    rarity = ((1 + len(vectors)) / (0.5 + (vectors > 0).sum(0))).log()
    vectors = torch.nn.functional.normalize(vectors * rarity, dim=1)
    place, group = vectors.nonzero().unbind(1)
    return {
        "groups": group,
        "tasks": torch.tensor(list(told))[place],
        "values": vectors[place, group],
        "rarity": rarity,
        "count": torch.tensor(len(about)),
    }


def near(likeness: Float[Tensor, "*new tasks"], width: float | Tensor) -> Float[Tensor, "*new tasks"]:
    """Return w of every earlier task."""
    return torch.softmax(likeness / width, dim=-1)
