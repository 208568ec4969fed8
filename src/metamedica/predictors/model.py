"""A fitted meta-model: a frozen learner, the guard beside it, and what it remembers of its earlier tasks. Saved as one bundle."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from sklearn.exceptions import NotFittedError
from torch import Tensor

from metamedica import registry
from metamedica.errors import BundleError, InputError
from metamedica.functional.descriptions import Descriptions
from metamedica.functional.leaning import WeighsItself
from metamedica.predictors.guard import Guard, starting_gate
from metamedica.predictors.method import LearnerMethod
from metamedica.predictors.questions import Question, read_questions
from metamedica.predictors.shift import EarlierCases
from metamedica.predictors.trust import EarlierTasks
from metamedica.storage import apart, read_bundle, together, write_bundle
from metamedica.types import Learner, Modality, PreparedCases, Progress, TaskKind
from metamedica.unlabelled import KeepsCases

KIND = "model"
_GAIN = "gain."


class UnfittedError(InputError, NotFittedError):  # type: ignore[misc]
    """A meta-learner was asked for what only `fit` teaches; scikit-learn knows it as its `NotFittedError`."""


@dataclass(frozen=True)
class LearnerSpec:
    """How to build the learner again: names and settings, all JSON."""

    learner: str
    encoder: str
    settings: dict[str, Any] = field(default_factory=dict)
    encoder_settings: dict[str, Any] = field(default_factory=dict)
    n_tasks: int = 1

    def build(self, modality: Modality) -> Learner[Any]:
        """Return a new, untrained learner."""
        return registry.build_learner(
            self.learner,
            modality,
            encoder=self.encoder,
            encoder_settings=self.encoder_settings,
            n_tasks=self.n_tasks,
            settings=self.settings,
        )

    def extra_blocks(self, modality: Modality) -> tuple[str, ...]:
        """Return the names of the blocks that the learner's encoder reads beyond those of `modality.prepare`."""
        rich = modality.rich_blocks if registry.takes(self.learner, "rich") else ()
        return (*rich, *(modality.extra_blocks(self.encoder) if registry.takes(self.learner, "encoder") else ()))


class FittedModel:
    """What `fit` leaves behind; predictors share it and never change it.

    Args:
        spec: how the learner is built.
        learner: the trained learner; a frozen copy is kept.
        modality: of the cases.
        gates: kind -> coefficients of the guard's gate; empty when the learner is from scratch (nothing to guard).
        usual_scale: unit -> standard deviation that a regression task with this unit usually has.
        earlier: names and centroids of the meta-training tasks.
        record: how it was made (data, split, settings, seeds, history), for the card.
        from_scratch: names of the learners that guard it, in the order of the gates' rows; None for those of the modality.
        asked: what the meta-training tasks asked, for a new task with too few labels to tell.
        cases: what is remembered of the meta-training tasks' cases, to tell a task that looks unlike them; None: nothing.
        gains: kind -> how a guarded task's gain follows from its evidence (`expected_gain`); None: nothing is known of that.
    """

    def __init__(
        self,
        spec: LearnerSpec,
        learner: Learner[Any],
        modality: Modality,
        *,
        gates: dict[TaskKind, Tensor],
        usual_scale: dict[str, float],
        earlier: EarlierTasks,
        record: dict[str, Any],
        from_scratch: Sequence[str] | None = None,
        asked: Sequence[Question] = (),
        cases: EarlierCases | None = None,
        gains: dict[TaskKind, Tensor] | None = None,
    ) -> None:
        self.spec = spec
        self.learner = copy.deepcopy(learner).eval()
        self.modality = modality
        self.gates = gates
        self.usual_scale = usual_scale
        self.earlier = earlier
        self.record = record
        self.asked = tuple(asked)
        self.cases = cases or EarlierCases.nothing()
        self.gains = dict(gains or {})
        self.raw = modality.raw_encoder()
        offered = modality.from_scratch if from_scratch is None else from_scratch
        self.from_scratch = [name for name in offered if name != spec.learner]
        self._scratch = {name: LearnerSpec(name, spec.encoder).build(modality).eval() for name in self.from_scratch}

    def with_own(self, cases: Any) -> "FittedModel":
        """Return the model that also reads what only these raw cases of one task have (`Modality.with_own`); all else is shared."""
        reader = self.modality.with_own(cases, source="the labelled cases")
        if reader is self.modality:
            return self
        other = copy.copy(self)
        other.modality = reader
        return other

    def prepare(self, cases: Any, *, progress: Progress | None = None) -> PreparedCases:
        """Return raw cases ready for this model: what the modality prepares, and what the encoder reads beyond it."""
        prepared = self.modality.prepare(cases, progress=progress)
        names = self.spec.extra_blocks(self.modality)
        if not names:
            return prepared
        more = self.modality.blocks(names, prepared.canonical, progress=progress)
        return replace(prepared, features={**prepared.features, **more})

    def method(self, kind: TaskKind, *, unit: str | None = None, guard: bool = True) -> LearnerMethod | Guard:
        """Return the model as a method for tasks of one kind and unit: guarded (the default) or the learned part alone.

        A learner that weighs itself (`functional/leaning`) has its answer from scratch within, and is not guarded a second time.
        """
        scale = self._scale(kind, unit)
        learned = LearnerMethod(self.learner, usual_scale=scale)
        if not guard or not self.guards(self.learner):
            return learned
        candidates = {self.spec.learner: learned}
        for name, learner in self._scratch.items():
            candidates[name] = LearnerMethod(learner, usual_scale=scale)
        return Guard(candidates, self.raw, earlier=self.earlier, gate=self.gates.get(kind, self.starting_gate()))

    def scratch_method(self, kind: TaskKind, *, unit: str | None = None) -> LearnerMethod:
        """Return the reference from scratch, the last one of `from_scratch`, as a method for tasks of one kind and unit."""
        scale = self._scale(kind, unit)
        return LearnerMethod(self._scratch[self.from_scratch[-1]], usual_scale=scale)

    def _scale(self, kind: TaskKind, unit: str | None) -> float | None:
        return self.usual_scale.get(unit) if unit is not None and kind == "regression" else None

    def guards(self, learner: Learner[Any]) -> bool:
        """Return whether such a learner is weighed against methods from scratch: one that learns from tasks, or sees cases as earlier ones taught,
        unless it weighs itself."""
        taught = learner.learns_from_tasks() or (self.modality.learned and registry.takes(self.spec.learner, "rich"))
        return bool(self._scratch) and taught and not isinstance(learner, WeighsItself)

    def starting_gate(self) -> Tensor:
        """Return the guard's gate before anything is known: sceptical of earlier tasks as far as the modality has reason to be."""
        return starting_gate(len(self.from_scratch), leaning=self.modality.leaning)

    def parts(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return (tensors, documents) that `from_parts` builds the model from."""
        gates: dict[str, Tensor] = {str(kind): gate for kind, gate in self.gates.items()}
        gates |= {f"{_GAIN}{kind}": gain for kind, gain in self.gains.items()}
        settings, of_modality = apart(self.modality.settings())
        tensors: dict[str, dict[str, Tensor]] = {
            "learner": dict(self.learner.state_dict()),
            "guard": gates or {"none": torch.zeros(1)},
            "earlier": {
                "centroids": self.earlier.centroids.to(torch.float16),
                "known": self.earlier.known,
                **(self.earlier.descriptions.state_dict() if self.earlier.descriptions else {}),
            },
            "cases": self.cases.tensors(),
            **({"modality": of_modality} if of_modality else {}),
        }
        document = {
            "spec": asdict(self.spec),
            "from_scratch": self.from_scratch,
            "modality": {
                "name": self.modality.name,
                "version": self.modality.version,
                "settings": settings,
            },
            "usual_scale": self.usual_scale,
            "earlier_tasks": self.earlier.names,
            "cases": self.cases.document(),
            "asked": [[question.kind, list(question.classes)] for question in self.asked],
            "record": self.record,
        }
        return tensors, {"model": document}

    @classmethod
    def from_parts(
        cls, tensors: dict[str, dict[str, Tensor]], documents: dict[str, Any], *, source: str
    ) -> "FittedModel":
        """Return the model that `parts` described; `source` is named in errors."""
        try:
            document = documents["model"]
            spec = LearnerSpec(**document["spec"])
            settings = together(document["modality"].get("settings"), tensors.get("modality", {}))
            modality = registry.modality(document["modality"]["name"], settings)
            version = document["modality"]["version"]
            if version != modality.version:
                raise BundleError(
                    f"{source} was made with version {version} of the {modality.name} features, this is version {modality.version}; "
                    "fit the model again"
                )
            learner = spec.build(modality)
            learner.load_state_dict(tensors["learner"])
            gates, gains = _by_kind(tensors["guard"]), _by_kind(tensors["guard"], _GAIN)
            return cls(
                spec,
                learner,
                modality,
                gates=gates,
                usual_scale=document["usual_scale"],
                earlier=EarlierTasks(
                    document["earlier_tasks"],
                    tensors["earlier"]["centroids"],
                    tensors["earlier"]["known"],
                    Descriptions.from_state(tensors["earlier"]),
                ),
                record=document["record"],
                from_scratch=document["from_scratch"],
                asked=read_questions(document.get("asked", [])),
                cases=EarlierCases.from_parts(tensors["cases"], document["cases"]) if "cases" in document else None,
                gains=gains,
            )
        except (KeyError, TypeError, RuntimeError, InputError) as error:
            raise BundleError(f"{source} does not describe a model that this version can build ({error})") from error

    def save(self, folder: str | Path, *, card: str | None = None) -> None:
        """Write the model (safetensors, JSON, checksums, and a card where given) to a folder, whole or not at all.

        A model that holds rows of earlier tasks' cases says so on its card, which it then has in any case.
        """
        tensors, documents = self.parts()
        told = "\n".join(part for part in (card, self.personal()) if part)
        write_bundle(Path(folder), KIND, tensors, documents, texts={"CARD.md": told} if told else None)

    def personal(self) -> str:
        """Return a line of Markdown where the model holds rows of earlier tasks' cases, else nothing."""
        if not isinstance(self.learner, KeepsCases):
            return ""
        return (
            f"- **Personal data**: this model holds the features of {self.learner.n_kept():,} cases of earlier tasks; "
            "keep it as you keep them.\n"
        )

    @classmethod
    def load(cls, folder: str | Path) -> "FittedModel":
        """Return the model saved in a folder.

        Raises:
            BundleError: the folder is not a model, or is damaged.
        """
        tensors, documents = read_bundle(Path(folder), KIND)
        return cls.from_parts(tensors, documents, source=str(folder))


def _by_kind(named: dict[str, Tensor], before: str = "") -> dict[TaskKind, Tensor]:
    kinds: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
    return {kind: named[before + kind] for kind in kinds if before + kind in named}
