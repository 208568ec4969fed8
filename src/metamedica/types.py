"""The nouns of the house and the shapes they carry. Ground floor: imports nothing of ours but the errors.

A *case* is one raw example (a SMILES string, a row), a *task* one question with labelled cases, an *episode* one draw from it: a *support* to adapt
on and a *query* to be judged on. A *learner* is two pure functions of a batch of tasks (the leading axis), with masks for ragged sizes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal

from metamedica.blocks import Block, changed, followed
from metamedica.errors import InputError, TaskError

TaskKind = Literal["binary", "multiclass", "regression"]
MetaSplit = Literal["meta_train", "meta_valid", "meta_test"]
META_SPLITS: tuple[MetaSplit, ...] = ("meta_train", "meta_valid", "meta_test")

Features: TypeAlias = dict[str, Block]
"""Named blocks of featurised cases, each `[..., cases, size]`; the leading axes agree between blocks."""

Law: TypeAlias = Categorical | Normal | Distribution
"""A distribution with one entry per task and query case: `Categorical` for classes, `Normal` for regression."""

State = TypeVar("State")
Progress: TypeAlias = Callable[[int, int, str], None]  # called as progress(done, total, message); must be cheap


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    authors: str
    year: int
    link: str


@dataclass(frozen=True)
class Between:
    """Numbers that a search over settings tries: from `low` to `high`, evenly, or evenly in their logarithms."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class OneOf:
    """Values that a search over settings tries: numbers, words, or lists of them."""

    values: tuple[Any, ...]


Ranges: TypeAlias = Mapping[str, Between | OneOf | None]
"""Setting -> what a search tries; None for one that it leaves as it is."""


@dataclass(frozen=True)
class CaseBatch:
    """Cases of a batch of tasks, padded to the longest.

    Args:
        features: blocks `[tasks, cases, size]`; padded rows may hold anything finite.
        mask: `[tasks, cases]`, true where there is a case.
    """

    features: Features
    mask: Bool[Tensor, "tasks cases"]

    @property
    def n_tasks(self) -> int:
        return int(self.mask.shape[0])

    @property
    def n_cases(self) -> int:
        """Padded number of cases a task."""
        return int(self.mask.shape[1])

    def map(self, change: Callable[[Tensor], Tensor]) -> "CaseBatch":
        """Return the batch with `change` applied to every block and to the mask (for example an index on the task axis)."""
        return CaseBatch({name: changed(block, change) for name, block in self.features.items()}, change(self.mask))


@dataclass(frozen=True)
class LabelledBatch:
    """Labelled cases of a batch of tasks of one kind.

    Args:
        cases: the cases.
        targets: `[tasks, cases]`, int64 class index for binary and multiclass, floating point for regression; 0 where padded.
        kind: the kind of every task in the batch.
        n_classes: `[tasks]`-wide maximum number of classes (2 for binary), None for regression.
        about: what each task is about (`functional/descriptions`), 0 where that is not known; None: of no task.
    """

    cases: CaseBatch
    targets: Shaped[Tensor, "tasks cases"]
    kind: TaskKind
    n_classes: int | None = None
    about: Float[Tensor, "tasks description"] | None = None

    def __post_init__(self) -> None:
        if self.targets.shape != self.cases.mask.shape:
            shapes = f"targets of shape {tuple(self.targets.shape)} for cases of shape {tuple(self.mask.shape)}"
            raise TaskError(f"got {shapes}; give one target per case")
        if (self.kind == "regression") != (self.n_classes is None):
            raise TaskError(f"got kind {self.kind!r} with n_classes {self.n_classes}; only regression has no classes")
        if self.kind != "regression" and self.targets.dtype != torch.int64:
            raise TaskError(f"got class targets of type {self.targets.dtype}; give int64 class indices")

    @property
    def mask(self) -> Bool[Tensor, "tasks cases"]:
        return self.cases.mask

    @property
    def features(self) -> Features:
        return self.cases.features

    def counts(self) -> Shaped[Tensor, " tasks"]:
        """Return the number of cases of each task."""
        return self.cases.mask.sum(dim=1)

    def with_targets(self, targets: Shaped[Tensor, "tasks cases"]) -> "LabelledBatch":
        """Return the same cases with other targets."""
        return replace(self, targets=targets)

    def map(self, change: Callable[[Tensor], Tensor]) -> "LabelledBatch":
        """Return the batch with `change` applied to features, mask and targets; descriptions follow their tasks."""
        about = None if self.about is None else followed(self.about, self.mask, change)
        return replace(self, cases=self.cases.map(change), targets=change(self.targets), about=about)

    def log_likelihood(self, law: Law) -> Float[Tensor, " tasks"]:
        """Return the mean log-likelihood per case of each task under `law`; padded cases do not count."""
        each = law.log_prob(self.targets).masked_fill(~self.mask, 0.0)
        return each.sum(dim=1) / self.counts().clamp(min=1)


@dataclass(frozen=True)
class EpisodeBatch:
    """Support and query of a batch of tasks; a task's support and query share no case and no group.

    Args:
        support: what `adapt` sees.
        query: what the law is judged on.
        task_index: `[tasks]`, the position of each task among the meta-training tasks (for learners with a head per task).
    """

    support: LabelledBatch
    query: LabelledBatch
    task_index: Shaped[Tensor, " tasks"]


class Encoder(nn.Module, ABC):
    """Feature blocks -> vectors. Learned (`encoders/`) or fixed."""

    dim: int
    codes: ClassVar[frozenset[str]] = frozenset()
    """Names of the blocks that it reads as whole numbers, as a table's keys: no one may scale, round or leave out a part of them."""
    by_entries: ClassVar[frozenset[str]] = frozenset()
    """Names of blocks, mostly zero, that it is fast on as table rows: where all of a learner's encoders name one, training gives `SparseRows`."""
    ranges: ClassVar[Ranges] = {}
    """As those of a `Learner`."""

    @abstractmethod
    def forward(self, features: Features) -> Float[Tensor, "*batch dim"]:
        """Return one vector of length `dim` per case; leading axes are those of the blocks."""


class RawEncoder(Encoder, ABC):
    """A fixed encoder (no parameters) that also knows how similar two cases are, and, where `distinct`, that equal ones are one case."""

    distinct: ClassVar[bool] = True

    @abstractmethod
    def similarity(
        self, left: Float[Tensor, "*batch n dim"], right: Float[Tensor, "*batch m dim"]
    ) -> Float[Tensor, "*batch n m"]:
        """Return a positive semi-definite kernel between rows, 1 on the diagonal."""

    def kernels(self, left: Features, right: Features) -> Float[Tensor, "*batch kernels n m"]:
        """Return the kernels worth averaging over, each positive semi-definite and 1 on the diagonal; by default `similarity` alone."""
        return self.similarity(self(left), self(right))[..., None, :, :]

    @abstractmethod
    def flat(self, features: Features) -> Float[Tensor, "*batch flat"]:
        """Return every block side by side, scaled for linear models and trees."""

    def summary(self, features: Features) -> Float[Tensor, "*batch summary"]:
        """Return a few columns of size about 1 whose differences tell how far apart cases are; by default the raw vector."""
        return cast(Tensor, self(features))


class Learner(nn.Module, ABC, Generic[State]):
    """A method: meta-parameters and two pure functions of a batch of tasks.

    A constructor names what it needs and nothing else: `encoder` (an `Encoder`, learned), `raw` (the modality's `RawEncoder`) or `rich`
    (its `rich_encoder`), `n_tasks` (number of meta-training tasks), then its hyper-parameters by keyword with defaults. Regression targets arrive
    standardised per task (`functional/targets`), so that no learner needs to know units.
    """

    paper: ClassVar[Paper]
    kinds: ClassVar[frozenset[TaskKind]]
    """The kinds of task that the method allows."""
    ranges: ClassVar[Ranges] = {}
    """What a search tries where the default does not tell (`tuning/space`); a child adds to its parents'."""

    @abstractmethod
    def adapt(self, support: LabelledBatch) -> State:
        """Return what was learned from each task's support. Pure: nothing is written to self; works under `torch.no_grad`."""

    @abstractmethod
    def predict(self, state: State, query: CaseBatch) -> Law:
        """Return a law with batch shape `[tasks, cases]`: `Categorical` over classes, or `Normal` in standardised units."""

    def meta_loss(self, episodes: EpisodeBatch) -> Float[Tensor, ""]:
        """Return what meta-training minimises: by default the query negative log-likelihood, mean over tasks."""
        law = self.predict(self.adapt(episodes.support), episodes.query.cases)
        return -episodes.query.log_likelihood(law).mean()

    def tasks_at_once(self, kind: TaskKind) -> int | None:
        """Return how many tasks of a batch training takes at a time, where `meta_loss` is a mean over tasks; None: all."""
        return None

    def fit_prior(self, episodes: Sequence[EpisodeBatch]) -> None:
        """Fit what only unseen cases can tell (such as a prior over per-task parameters), once after meta-training, to standardised episodes of
        meta-valid tasks, whose cases no learned encoder has seen; by default nothing."""

    def check_kind(self, kind: TaskKind) -> None:
        """Raise `TaskError` where the method does not allow tasks of this kind."""
        if kind not in self.kinds:
            raise TaskError(
                f"{type(self).__name__} cannot learn a {kind} task; it allows {', '.join(sorted(self.kinds))}: choose another learner"
            )

    def learns_from_tasks(self) -> bool:
        """Return whether earlier tasks change the method; false for a method that starts from scratch."""
        return isinstance(self, ClosedForm) or any(p.requires_grad for p in self.parameters())


@dataclass(frozen=True)
class CaseProblem:
    """A raw case that cannot be used: its position in the input, its text (shortened), the reason, and how many cells it is about."""

    position: int
    text: str
    reason: str
    cells: int = 0


@dataclass(frozen=True)
class PreparedCases:
    """Raw cases made ready.

    Args:
        row: for each raw case, its row in `canonical` and `features`, or -1 where it has a problem.
        canonical: one canonical text per distinct case.
        features: blocks `[distinct cases, size]`.
        problems: the raw cases that cannot be used, in input order.
        remarks: what was read otherwise than it stands there, and how; position -1 where it is about all cases.
    """

    row: list[int]
    canonical: list[str]
    features: Features
    problems: list[CaseProblem] = field(default_factory=list)
    remarks: list[CaseProblem] = field(default_factory=list)


class LeaveOneOut(ABC):
    """What a learner adds when it knows its leave-one-out predictions in closed form; the guard then need not adapt once per fold."""

    @abstractmethod
    def leave_one_out(self, support: LabelledBatch, state: Any = None) -> Float[Tensor, "tasks cases"]:
        """Return the log-likelihood of each support case when that case is hidden, given the support (and what `adapt` returned for it, where the
        caller has that already); anything finite where padded."""


class ClosedForm(ABC):
    """What a learner adds when it is fitted on all earlier tasks at once, without gradient steps; its `meta_loss` is then only a score."""

    least_classes: ClassVar[int] = 2
    """Classes that a task with classes, earlier or new, must show to teach it something; 1 where a level can be learned from one."""

    @abstractmethod
    def fit_tasks(self, tasks: Sequence[LabelledBatch]) -> None:
        """Fit everything that the meta-training tasks teach, whatever their order; `fit_prior` follows on meta-valid tasks.

        Args:
            tasks: each a whole task as a batch without padding, standardised; made when asked for, so that memory holds one. A
                regression task may come again as a binary one.

        Raises:
            TaskError: no task of a kind that the learner allows.
        """


class Modality(ABC):
    """One kind of case: how to read, check, featurise, encode and draw it. One file or folder in `modalities/`. Built without arguments it has seen
    no case; with those that `settings` names it reads the cases of one collection (of tables, their columns).
    """

    name: ClassVar[str]
    version: ClassVar[str]
    """Part of every cache key and saved model: changes whenever the same case would give other features."""
    from_scratch: ClassVar[tuple[str, ...]]
    """Names of the learners from scratch that users of this modality trust; the guard compares with them."""
    default_learner: str = "deep_kernel"
    """Name of the learner that is fitted where none is named; its settings may have a say in it."""
    leaning: ClassVar[float] = -3.0
    """Log-odds of a learned method against one from scratch before any evidence; -3: earlier tasks count for one part in twenty."""
    rich_blocks: ClassVar[tuple[str, ...]] = ()
    """Names of the blocks that `rich_encoder` reads and `prepare` leaves out."""
    distinct: ClassVar[bool] = True
    """Whether cases of equal content are one case (a molecule) or each its own (two patients)."""
    legible: ClassVar[bool] = True
    """Whether a case's text is one to show: a SMILES is; a person's row or an image is told by its number, and no model keeps a hash of it."""
    comparable: ClassVar[bool] = True
    """Whether a case of one task can be compared with one of another; not so where every task has other columns."""
    learned: bool = False
    """Whether `rich_encoder` compares cases by what was learned of earlier ones (a pre-trained network), so that a method with it is guarded."""
    columns: ClassVar[tuple[str, ...]] = (r"smiles", r".*smiles.*", r"structures?|mols?|molecules?|compounds?|cases?")
    """Patterns of usual names of the column that holds the cases in a table, likeliest first."""
    recipe: ClassVar[Mapping[str, str]] = {}
    """Block name -> how it is made, in a sentence, for whoever makes it elsewhere for an exported predictor."""

    def settings(self) -> dict[str, Any]:
        """Return what the constructor needs to read cases as this one does, as a JSON value; by default nothing."""
        return {}

    def fitted(self, cases: Any, *, others: Any = None, source: str = "the table") -> "Modality":
        """Return the modality as it reads such raw cases; by default unchanged, for it knows all it needs.

        Args:
            cases: raw, as `prepare` takes them; others: of tasks that are judged, which teach it nothing; source: named in errors.

        Raises:
            InputError: it cannot tell how to read them.
        """
        return self

    def with_own(self, cases: Any, *, source: str = "the table") -> "Modality":
        """Return the modality that also reads what only these cases of one task have (further columns); by default unchanged."""
        return self

    def leaks(self, cases: Any, labels: Sequence[int]) -> list[str]:
        """Return the names of the parts of raw cases that tell class 0 from class 1 without error, as the label itself would; by default none."""
        return []

    @abstractmethod
    def prepare(self, cases: Any, *, n_jobs: int | None = None, progress: Progress | None = None) -> PreparedCases:
        """Read, check, standardise and featurise raw cases (texts; for tables rows); where cases are `distinct`, each is featurised once."""

    @abstractmethod
    def encoder(self, name: str, **settings: Any) -> Encoder:
        """Return a new learned encoder by name (a file of `encoders/`) for this modality's blocks."""

    def extra_blocks(self, encoder: str) -> tuple[str, ...]:
        """Return the names of the blocks that this encoder reads and `prepare` leaves out, because few need them; by default none."""
        return ()

    def blocks(
        self,
        names: Sequence[str],
        canonical: Sequence[str],
        *,
        n_jobs: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        """Return blocks that `prepare` leaves out, `[canonical cases, size]`.

        Raises:
            InputError: the modality has no such block.
        """
        raise InputError(f"got a wish for the blocks {', '.join(names)}; {self.name} has those that prepare makes only")

    @abstractmethod
    def raw_encoder(self) -> RawEncoder:
        """Return the fixed encoder that from-scratch methods use."""

    def rich_encoder(self) -> RawEncoder:
        """Return a fixed encoder that compares cases in more ways, at more cost; by default `raw_encoder`."""
        return self.raw_encoder()

    @abstractmethod
    def groups(self, canonical: Sequence[str]) -> list[str]:
        """Return a group per case (the scaffold of a molecule) that a strict split keeps together."""

    @abstractmethod
    def draw(self, canonical: str, *, width: int = 220, height: int = 160) -> str:
        """Return the case as an SVG or HTML fragment for reports."""

    @abstractmethod
    def read_file(self, path: str) -> tuple[list[str], list[str]] | None:
        """Return (cases, names) of a file in the modality's own format, or None where the suffix is not one of them."""
