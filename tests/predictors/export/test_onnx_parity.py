"""Every learner of the folder and every encoder, adapted and written as ONNX, says the same in onnxruntime."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from onnx import ModelProto

from metamedica import registry
from metamedica.functional.descriptions import described
from metamedica.functional.inner_loop.networks import AdaptedNetworks
from metamedica.learners.common_mean_gp import CommonMeanGP
from metamedica.modalities.molecules.encoding import FingerprintEncoder, ManyFingerprintsEncoder
from metamedica.modalities.molecules.featurise import MORE_FINGERPRINTS
from metamedica.predictors.export.file import answers, difference, onnx_model, run
from metamedica.predictors.guard import Guard
from metamedica.predictors.method import Adapted, LearnerMethod
from metamedica.testing import VectorRaw, on_vectors, vector_batch, vector_episodes
from metamedica.types import CaseBatch, ClosedForm, Features, LabelledBatch, Learner, TaskKind

NOT_EXPORTED: dict[str, str] = {}
"""Learner -> the sentence it is refused with. None for now; a new learner that must be refused is named here, with why."""
SMALLER: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 5},
    "fine_tune": {"steps": 4},
    "deep_adaptation": {"hidden": 3, "steps": 2, "strengths": (1.0,), "signals": (1.0,)},
    "domain_adversarial": {"hidden": 3, "steps": 2, "strengths": (1.0,), "signals": (1.0,)},
}
EVERY = [(name, kind) for name in registry.names("learners") for kind in sorted(registry.learner_class(name).kinds)]
NEAR = 1e-5


def single(batch: LabelledBatch) -> LabelledBatch:
    """The first task alone, in single precision."""
    return batch.map(lambda value: (value.float() if value.is_floating_point() else value)[:1])


def moved(learner: Learner[Any]) -> Learner[Any]:
    """The learner with every weight moved: some are 0 at the start, and a graph that lost them would look right."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=random))
    return learner


def made(name: str) -> Learner[Any]:
    torch.manual_seed(0)
    learner = moved(on_vectors(registry.learner_class(name), settings=SMALLER.get(name)))
    if isinstance(learner, ClosedForm):  # a graph that lost what has the size 0 at the start would look right
        kinds: list[TaskKind] = [kind for kind in ("regression", "binary") if kind in learner.kinds]
        learner.fit_tasks([single(vector_episodes(kinds[0], seed=seed).query) for seed in range(4)])
    return learner


def agree(adapted: Adapted, model: ModelProto, cases: Features, *, scale: float = 1.0) -> None:
    """One case, some and many get the predictor's numbers."""
    data = model.SerializeToString()
    for batch in (
        {name: block[:1] for name, block in cases.items()},
        cases,
        {name: block.repeat(30, 1) for name, block in cases.items()},
    ):
        assert difference(run(data, batch), answers(adapted, batch), scale=scale) <= NEAR


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_an_adapted_learner_says_the_same_in_onnxruntime(name: str, kind: TaskKind) -> None:
    episodes = vector_episodes(kind)
    support, query = single(episodes.support), single(episodes.query)
    if kind == "regression":
        support = support.with_targets(3 * support.targets + 50)
    adapted = LearnerMethod(made(name)).adapt(support)
    known = {block: values[0] for block, values in support.features.items()}
    if name in NOT_EXPORTED:
        with pytest.raises(ValueError, match=NOT_EXPORTED[name]):
            onnx_model(adapted, known)
        return
    cases = {block: values[0] for block, values in query.features.items()}
    agree(adapted, onnx_model(adapted, known), cases, scale=float(adapted.scale.scale[0]))


def test_cases_that_earlier_tasks_measured_are_known_again_in_onnxruntime() -> None:
    learner = CommonMeanGP(VectorRaw())
    first = single(vector_episodes("regression").query)
    learner.fit_tasks([first.with_targets(first.targets + 0.1 * shift) for shift in range(4)])
    assert len(learner.known)
    assert float(learner.effects.abs().max()) > 0.1
    adapted = LearnerMethod(learner).adapt(single(vector_episodes("regression").support))
    cases = torch.cat([first.features["vector"][0], 1 + first.features["vector"][0]])
    model = onnx_model(adapted, {"vector": cases})
    assert any(node.op_type == "LabelEncoder" for node in model.graph.node)
    agree(adapted, model, {"vector": cases}, scale=float(adapted.scale.scale[0]))


def test_what_single_tasks_measured_of_cases_is_known_in_onnxruntime() -> None:
    random = torch.Generator().manual_seed(0)
    x, directions = torch.randn(1, 30, 4, generator=random), torch.randn(3, 30, generator=random)
    weights = torch.randn(12, 3, generator=random)
    learner = CommonMeanGP(VectorRaw())
    learner.fit_tasks([vector_batch(x, (each @ directions)[None]) for each in weights])
    assert float(learner.profiles["shares"][1]) > 0.01
    support = vector_batch(x[:, :9], (torch.randn(1, 3, generator=random) @ directions)[:, :9])
    adapted = LearnerMethod(learner).adapt(support)
    cases = {"vector": torch.cat([x[0, 5:], 1 + x[0]])}
    model = onnx_model(adapted, cases)
    assert any(node.op_type == "Gather" for node in model.graph.node)
    agree(adapted, model, cases, scale=float(adapted.scale.scale[0]))


def test_what_near_tasks_measured_of_cases_is_known_in_onnxruntime() -> None:
    random = torch.Generator().manual_seed(0)
    x, common = torch.randn(1, 30, 4, generator=random), torch.randn(4, 30, generator=random)
    texts = ["MKVLAARNDCEQGH", "GGHHIIKKLLMMFF", "WWYYVVSSTTPPAA", "CCDDEEFFGGRRNN"]
    tasks = [
        replace(
            vector_batch(x, common[at % 4][None] + 0.3 * torch.randn(1, 30, generator=random)),
            about=described(texts[at % 4] + f" form {at}")[None],
        )
        for at in range(20)
    ]
    learner = CommonMeanGP(VectorRaw())
    learner.fit_tasks(tasks[:16])
    assert learner.compares_tasks()
    adapted = LearnerMethod(learner).adapt(tasks[16].map(lambda value: value[:, :5]))
    assert float(adapted.state.weights.after.max()) > 0.1
    cases = {"vector": torch.cat([x[0, 3:], 1 + x[0]])}
    agree(adapted, onnx_model(adapted, cases), cases, scale=float(adapted.scale.scale[0]))


def test_every_refused_learner_exists_and_says_why() -> None:
    assert set(NOT_EXPORTED) <= set(registry.names("learners"))
    assert all(NOT_EXPORTED.values())


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_guarded_mixture_is_exported_with_its_weights(kind: TaskKind) -> None:
    names = ["maml", "random_forest", "similarity_search"]
    methods = {name: LearnerMethod(made(name)) for name in names}
    support = single(vector_episodes(kind).support)
    adapted = Guard(methods, VectorRaw()).adapt(support)
    cases = {"vector": single(vector_episodes(kind, seed=3).query).features["vector"][0]}
    agree(adapted, onnx_model(adapted, {"vector": support.features["vector"][0]}), cases)


def _counts(n: int, seed: int, columns: int = 64) -> Features:
    random = torch.Generator().manual_seed(seed)
    counts = torch.poisson(torch.full((n, columns), 0.2), generator=random)
    counts[:, :3] *= torch.randint(1, 9, (n, 3), generator=random)
    return {"counts": counts, "descriptors": torch.randn(n, 5, generator=random)}


@pytest.mark.parametrize("name", ["tanimoto_gp", "multi_kernel_gp", "similarity_search", "linear"])
@pytest.mark.parametrize("n", [2, 40])
def test_count_kernels_are_exact_for_few_and_for_many_labelled_cases(name: str, n: int) -> None:
    learner = registry.learner_class(name)(FingerprintEncoder(64))  # type: ignore[call-arg]
    known = _counts(n, 0)
    targets = torch.linspace(-1, 1, n)[None]
    batch = CaseBatch({block: values[None] for block, values in known.items()}, torch.ones(1, n, dtype=torch.bool))
    adapted = LearnerMethod(learner).adapt(LabelledBatch(batch, targets, "regression"))
    cases = _counts(9, 1)
    cases["counts"][0] = 0
    agree(adapted, onnx_model(adapted, known), cases, scale=float(adapted.scale.scale[0]))


@pytest.mark.parametrize("n", [2, 40])
def test_every_fingerprint_of_the_rich_kernels_is_exact(n: int) -> None:
    def features(count: int, seed: int) -> Features:
        more = {block: _counts(count, seed + at, 48)["counts"] for at, block in enumerate(MORE_FINGERPRINTS, start=10)}
        return {**_counts(count, seed), **more}

    known, cases = features(n, 0), features(9, 1)
    targets = torch.linspace(-1, 1, n)[None]
    batch = CaseBatch({block: values[None] for block, values in known.items()}, torch.ones(1, n, dtype=torch.bool))
    adapted = LearnerMethod(CommonMeanGP(ManyFingerprintsEncoder(64))).adapt(
        LabelledBatch(batch, targets, "regression")
    )
    cases["paths"][0] = 0
    agree(adapted, onnx_model(adapted, known), cases, scale=float(adapted.scale.scale[0]))


@pytest.mark.parametrize(
    ("name", "kind"), [("maml", "binary"), ("prototypical", "multiclass"), ("deep_kernel", "regression")]
)
def test_the_mlp_is_exported_with_counts_as_logarithms(name: str, kind: TaskKind) -> None:
    torch.manual_seed(0)
    encoder = registry.encoder_class("mlp")({"counts": 64, "descriptors": 5}, hidden=(16,), dim=8)  # type: ignore[call-arg]
    given = {"encoder": encoder} | ({"raw": FingerprintEncoder(64), "n_tasks": 2} if name == "deep_kernel" else {})
    learner = moved(registry.learner_class(name)(**given))
    support = single(vector_episodes(kind).support)
    known = _counts(support.cases.n_cases, 0)
    batch = CaseBatch({block: values[None] for block, values in known.items()}, support.mask)
    adapted = LearnerMethod(learner).adapt(LabelledBatch(batch, support.targets, kind, support.n_classes))
    model = onnx_model(adapted, known)
    agree(adapted, model, _counts(7, 1), scale=float(adapted.scale.scale[0]))
    if isinstance(adapted.state, AdaptedNetworks):
        assert adapted.state.front is not None
        rows = known["counts"].log1p()
        held = [tensor for tensor in model.graph.initializer if list(tensor.dims)[-2:] == list(rows.shape)]
        assert not held, "the file holds the labelled cases beside the network that they made"


def test_message_passing_over_graphs_is_exported() -> None:
    torch.manual_seed(0)
    encoder = registry.encoder_class("message_passing")((5, 3), (4,), width=8, depth=2, dim=6)  # type: ignore[call-arg]
    learner = moved(registry.learner_class("prototypical")(encoder))  # type: ignore[call-arg]
    random = torch.Generator().manual_seed(0)

    def graphs(n: int) -> Features:
        atoms = torch.stack(
            [torch.randint(0, 5, (n, 6), generator=random), torch.randint(0, 3, (n, 6), generator=random)], -1
        )
        bonds = torch.cat(
            [torch.randint(0, 6, (n, 7, 2), generator=random), torch.randint(0, 4, (n, 7, 1), generator=random)], -1
        )
        return {"atoms": atoms.reshape(n, -1).float(), "bonds": bonds.reshape(n, -1).float()}

    known = graphs(6)
    batch = CaseBatch({block: values[None] for block, values in known.items()}, torch.ones(1, 6, dtype=torch.bool))
    adapted = LearnerMethod(learner).adapt(LabelledBatch(batch, torch.tensor([[0, 1, 0, 1, 0, 1]]), "binary", 2))
    agree(adapted, onnx_model(adapted, known), graphs(5))
