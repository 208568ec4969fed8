"""What cases without label add: a learner that has the queries beside its labels against itself without them, classes balanced and not.

The queries of an episode are given without their labels and then judged; of each there is a version whose classes are as unequal as shares
drawn by Dirichlet(2) are (Veilleux et al. 2021, arXiv:2110.12358), and one where five of them are all that is given. Kernels and vectors of a
task's images are computed once and looked up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from benchmarks._images_classification import cases_of, featurised, interval_of, kind_of, targets_of
from benchmarks._images_episodes import Judged, anaemias, chula, covid, iq_oth, stain2
from metamedica import registry
from metamedica.functional.kernels import rbf_kernel
from metamedica.modalities.images import Images
from metamedica.predictors.method import LearnerMethod
from metamedica.types import Features, LabelledBatch, RawEncoder

EPISODES, SEED = 300, 0
CONCENTRATION = 2.0
FEW = 5
LEARNER = "label_propagation"
INDUCTIVE = ("leave_one_out_gp", "prototypical", "linear", LEARNER)
"""The last one's row without queries is what the one with queries is compared with."""
QUERIES = ("balanced", "imbalanced", "five without label")
_AT_ONCE = 10
_LEAST = 1e-12
Laws = list[NDArray[np.float64]]
"""Class probabilities of the queries of each episode."""


class Table(RawEncoder):
    """The images of one task, known by their row: kernels between all of them, and vectors that keep every inner product.

    Args:
        reader: whose rich encoder compares them.
        features: of all images.
    """

    def __init__(self, reader: Images, features: Features) -> None:
        super().__init__()
        rich = reader.rich_encoder()
        self.dim = rich.dim
        self.similarities: Float[Tensor, "kernels n n"] = rich.kernels(features, features)
        vectors = rich(features).double()
        strength, directions = torch.linalg.eigh(vectors @ vectors.mT)
        kept = strength > strength[-1] * 1e-10
        self.places: Float[Tensor, "n d"] = (directions[:, kept] * strength[kept].sqrt()).float()

    def forward(self, features: Features) -> Float[Tensor, "*batch d"]:
        """Return the vectors, turned: distances and inner products are those of the rich encoder."""
        return self.places[_rows(features)]

    def flat(self, features: Features) -> Float[Tensor, "*batch d"]:
        """Return the same at the scale of the rich encoder's `flat`."""
        return self.places[_rows(features)] * self.dim**0.5

    def similarity(
        self, left: Float[Tensor, "*batch n d"], right: Float[Tensor, "*batch m d"]
    ) -> Float[Tensor, "*batch n m"]:
        """Return an RBF on vectors."""
        return rbf_kernel(left, right)

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "*batch kernels n m"]:
        """Return what the rich encoder says of these images."""
        return self.similarities[:, _rows(left)[..., :, None], _rows(right)[..., None, :]].movedim(0, -3)


def _rows(features: Features) -> Int64[Tensor, "*batch n"]:
    rows: Tensor = features["row"][..., 0]  # type: ignore[assignment]
    return rows


def uneven(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Return places of queries whose classes have shares drawn by Dirichlet(2): the commonest keeps all its queries, each keeps one at least."""
    n_classes = int(labels.max()) + 1
    share = random.dirichlet(np.full(n_classes, CONCENTRATION))
    there = np.bincount(labels, minlength=n_classes)
    counts = np.clip(np.round(share * (there / share).min()), 1, there).astype(int)
    some = [random.permutation(np.flatnonzero(labels == label))[: counts[label]] for label in range(n_classes)]
    return np.sort(np.concatenate(some))


def judged_tasks() -> Iterator[tuple[Images, Judged]]:
    """Yield the judged tasks, each with what reads it: cells through the network of `make bench-images`, scans through none."""
    from benchmarks.images import SIDE, network

    given: Mapping[str, int] = {"episodes": EPISODES, "seed": SEED}
    cells = Images(side=SIDE, network=network("cells"))
    for make in (chula, stain2, anaemias):
        for shots in (1, 5):
            yield cells, make(shots=shots, **given)
    scans = Images()
    for shots in (1, 5):
        yield scans, iq_oth(shots=shots, **given)
    yield scans, covid(shots=10, **given)


def rows(tasks: Iterable[tuple[Images, Judged]] | None = None) -> list[dict[str, Any]]:
    """Return a row a task, sort of queries and method.

    Args:
        tasks: each with what reads its images; None: the judged ones.
    """
    return [row for reader, task in (judged_tasks() if tasks is None else tasks) for row in rows_of(reader, task)]


def rows_of(reader: Images, task: Judged) -> list[dict[str, Any]]:
    """Return the rows of one task."""
    table = Table(reader, featurised(reader, task))
    random = np.random.default_rng([SEED, task.shots or 0])
    every = [np.arange(len(query)) for query in task.queries]
    some = [uneven(task.labels[query], random) for query in task.queries]
    few = [np.sort(random.permutation(len(query))[:FEW]) for query in task.queries]
    alone = {name: laws(name, table, task) for name in INDUCTIVE}
    found = []
    for queries, given, judged in zip(QUERIES, (every, some, few), (every, some, every), strict=True):
        truths = [task.labels[query[places]] for query, places in zip(task.queries, judged, strict=True)]
        each = {
            f"{name}, labels alone": scores([law[at] for law, at in zip(alone[name], judged, strict=True)], truths)
            for name in INDUCTIVE
        }
        base = each[f"{LEARNER}, labels alone"]
        told = laws(LEARNER, table, task, given=given)
        each[LEARNER] = scores([law[at] for law, at in zip(told, judged, strict=True)], truths)
        for method, (right, loss) in each.items():
            compared = method == LEARNER
            found.append(
                {
                    "task": task.name,
                    "shots": task.shots,
                    "queries": queries,
                    "method": method,
                    "accuracy": float(right.mean()),
                    "accuracy_interval": interval_of(right),
                    "log_loss": float(loss.mean()),
                    "minus_labels_alone": _difference(right - base[0]) if compared else None,
                    "log_loss_minus_labels_alone": _difference(loss - base[1]) if compared else None,
                    "episodes": len(truths),
                }
            )
    return found


def laws(name: str, table: Table, task: Judged, *, given: Sequence[NDArray[np.int64]] | None = None) -> Laws:
    """Return what a learner says of all queries of each episode.

    Args:
        name: of the learner.
        table: of the task's images.
        task: its episodes.
        given: places of the queries that come without label; None: the learner has the labels alone.
    """
    made = registry.learner_class(name)
    method = LearnerMethod(made(table))
    row = {"row": torch.arange(len(table.places))[:, None]}
    found: Laws = []
    for at in range(0, len(task.supports), _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        supports, queries = task.supports[part], task.queries[part]
        support = LabelledBatch(cases_of(row, supports), targets_of(task, at, supports), kind_of(task), task.n_classes)  # type: ignore[arg-type]
        if given is None:
            adapted = method.adapt(support)
        else:
            told = [query[places] for query, places in zip(queries, given[part], strict=True)]
            adapted = method.adapt(support, cases_of(row, told))
        law = adapted.predict(cases_of(row, queries))
        found += [law.probs[place, : len(query)].double().numpy() for place, query in enumerate(queries)]  # type: ignore[attr-defined]
    return found


def scores(told: Laws, truths: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return accuracy and log-loss of each episode."""
    right = [float((law.argmax(1) == truth).mean()) for law, truth in zip(told, truths, strict=True)]
    chance = [law[np.arange(len(truth)), truth].clip(_LEAST) for law, truth in zip(told, truths, strict=True)]
    return np.array(right), np.array([-float(np.log(each).mean()) for each in chance])


def _difference(values: NDArray[np.float64]) -> tuple[float, float, float]:
    low, high = interval_of(values)
    return float(values.mean()), low, high
