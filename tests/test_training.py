"""The one loop: its steps, its selection, its refusals, and the same bits after a resume."""

import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Normal

import tiny_training as tiny
from metamedica import fingerprints
from metamedica.checkpoints import Checkpoint, CheckpointFolder
from metamedica.errors import BundleError, InputError, TrainingError
from metamedica.functional.targets import standardise_episodes
from metamedica.precision import PRECISIONS
from metamedica.training import TrainingResult, TrainingSettings, duration, mean_log_likelihood, train
from metamedica.types import CaseBatch, EpisodeBatch, LabelledBatch, Law

FEW = TrainingSettings(steps=6, learning_rate=0.01, validate_every=2, checkpoint_every=1, seed=5)


def _weights(learner: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in learner.state_dict().items()}


def _same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_the_rate_rises_linearly_then_falls_as_half_a_cosine() -> None:
    plan = TrainingSettings(steps=1000, learning_rate=0.5, warmup=100)
    assert plan.rate(0) == 0.5 / 100
    assert plan.rate(49) == 0.5 * 50 / 100
    assert plan.rate(99) == 0.5
    assert plan.rate(100) == 0.5
    assert plan.rate(550) == pytest.approx(0.25)
    assert plan.rate(325) == pytest.approx(0.25 * (1 + math.sqrt(0.5)))
    assert plan.rate(999) < 0.5 * 1e-5


@given(st.integers(1, 3000), st.integers(0, 300))
@settings(max_examples=100, deadline=None)
def test_the_rate_is_above_zero_in_every_step_and_never_above_the_peak(steps: int, warmup: int) -> None:
    plan = TrainingSettings(steps=steps, learning_rate=1.0, warmup=warmup)
    rates = [plan.rate(step) for step in range(steps)]
    assert min(rates) > 0
    assert max(rates) == 1.0
    top = rates.index(1.0)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@given(
    st.builds(
        TrainingSettings,
        steps=st.integers(1, 10**6),
        learning_rate=st.floats(1e-9, 1e3),
        weight_decay=st.floats(0, 1),
        warmup=st.integers(0, 1000),
        clip=st.floats(1e-3, 1e3),
        validate_every=st.integers(1, 1000),
        patience=st.integers(1, 100),
        checkpoint_every=st.integers(1, 1000),
        seed=st.integers(0, 2**40),
        accumulate=st.integers(1, 64),
        precision=st.sampled_from(PRECISIONS),
    )
)
@settings(max_examples=100, deadline=None)
def test_settings_come_back_from_json(plan: TrainingSettings) -> None:
    assert TrainingSettings.from_json(json.loads(json.dumps(plan.as_json()))) == plan


def test_an_unknown_setting_gives_the_choices() -> None:
    with pytest.raises(
        InputError, match="there is no training setting 'epochs'; the settings are: steps, learning_rate"
    ):
        TrainingSettings.from_json({"epochs": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("validate_every", 0),
        ("patience", 0),
        ("checkpoint_every", -1),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("clip", math.inf),
        ("warmup", -1),
        ("weight_decay", -0.1),
        ("seed", -1),
        ("accumulate", 0),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^got {name} {value}; give"):
        TrainingSettings(**{name: value})  # type: ignore[arg-type]


def test_the_loop_takes_the_steps_of_a_plain_adamw_loop() -> None:
    plan = TrainingSettings(steps=12, learning_rate=0.02, weight_decay=0.1, warmup=5, clip=0.3)
    model, plain = tiny.learner(dropout=0.0), tiny.learner(dropout=0.0)
    train(model, tiny.sampler(), [], plan)
    matrices = [value for value in plain.parameters() if value.ndim >= 2]
    vectors = [value for value in plain.parameters() if value.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}])
    sampler = tiny.sampler()
    clipped = 0
    for step in range(12):
        for group in optimizer.param_groups:
            # by hand: one warm-up step (a tenth of 12), then a cosine over the other 11
            group["lr"] = 0.02 if step == 0 else 0.01 * (1 + math.cos(math.pi * (step - 1) / 11))
        optimizer.zero_grad()
        plain.meta_loss(standardise_episodes(sampler.batch(step))).backward()
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in plain.parameters() if p.grad is not None))
        for parameter in plain.parameters():
            if norm > 0.3 and parameter.grad is not None:
                parameter.grad *= 0.3 / norm
        clipped += norm > 0.3
        optimizer.step()
    assert clipped > 0
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_training_raises_the_score_on_tasks_it_has_not_seen() -> None:
    model = tiny.learner(dropout=0.0)
    episodes = [standardise_episodes(batch) for batch in tiny.validation()]
    before = mean_log_likelihood(model, episodes)
    plan = TrainingSettings(steps=300, learning_rate=0.02, validate_every=20)
    result = train(model, tiny.sampler(), tiny.validation(), plan)
    assert result.best_score == mean_log_likelihood(model, episodes)
    assert result.best_score > before + 0.03


def test_the_score_is_the_mean_over_tasks_of_the_mean_over_cases() -> None:
    model = tiny.learner()
    episodes = [standardise_episodes(batch) for batch in tiny.validation()]
    assert {batch.query.kind for batch in episodes} == {"binary", "regression"}
    model.eval()
    scores = []
    for batch in episodes:
        with torch.no_grad():
            law = model.predict(model.adapt(batch.support), batch.query.cases)
            each = law.log_prob(batch.query.targets)
        for task in range(batch.query.mask.shape[0]):
            scores.append(float(each[task][batch.query.mask[task]].mean()))
    model.train()
    assert mean_log_likelihood(model, episodes) == pytest.approx(sum(scores) / len(scores), rel=1e-6)


class _Watched(tiny.Tiny):
    """Keeps what the loop hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bool, bool, LabelledBatch]] = []
        self.priors: list[list[EpisodeBatch]] = []

    def adapt(self, support: LabelledBatch) -> Tensor:
        self.seen.append(("adapt", self.training, torch.is_grad_enabled(), support))
        return super().adapt(support)

    def fit_prior(self, episodes: list[EpisodeBatch]) -> None:
        assert not self.training
        self.priors.append(list(episodes))


def test_learners_see_regression_targets_in_standard_units_in_training_validation_and_prior() -> None:
    model = _Watched()
    train(model, tiny.sampler(), tiny.validation(), FEW)
    kinds = set()
    for _, _, _, support in model.seen:
        kinds.add(support.kind)
        if support.kind == "regression":
            mean, spread = support.targets.mean(dim=1), support.targets.std(dim=1)
            torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
            torch.testing.assert_close(spread, torch.ones_like(spread))
    assert kinds == {"binary", "regression"}
    assert len(model.priors) == 1
    assert len(model.priors[0]) == len(tiny.validation())
    regression = [batch.support.targets for batch in model.priors[0] if batch.support.kind == "regression"]
    assert all(float(targets.abs().max()) < 4 for targets in regression)  # raw targets are about 6


def test_steps_run_in_training_mode_and_looks_in_evaluation_mode_without_gradients() -> None:
    model = _Watched()
    train(model, tiny.sampler(), tiny.validation(), FEW)
    modes = [(training, gradients) for _, training, gradients, _ in model.seen]
    looks = [(False, False)] * len(tiny.validation())
    assert modes == ([(True, True)] * 2 + looks) * 3
    assert not model.training


class _Normed(tiny.Tiny):
    """Has a batch norm with statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body.insert(1, _Flat(8))


class _Flat(nn.BatchNorm1d):
    """Batch norm over the cases of all tasks."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)).reshape(x.shape)


def test_a_batch_norm_is_refused_by_name_and_kept_where_it_is_in_evaluation_mode() -> None:
    model = _Normed()
    with pytest.raises(TrainingError, match=r"body.1 is a _Flat, .* use GroupNorm or LayerNorm"):
        train(model, tiny.sampler(), tiny.validation(), FEW)
    norm = model.body[1]
    norm.eval()
    before = norm.running_mean.clone()
    train(model, tiny.sampler(), tiny.validation(), FEW)
    assert torch.equal(norm.running_mean, before)
    assert not norm.training


def _snapshots(model: tiny.Tiny) -> tuple[dict[int, dict[str, Tensor]], Callable[[int, int, str], None]]:
    kept: dict[int, dict[str, Tensor]] = {}
    return kept, lambda done, total, message: kept.__setitem__(done, _weights(model))


def test_the_weights_of_the_best_look_are_returned() -> None:
    model = tiny.learner()
    kept, progress = _snapshots(model)
    result = train(
        model, tiny.sampler(), tiny.validation(), replace(tiny.SETTINGS, learning_rate=0.2), progress=progress
    )
    best = max(result.history, key=lambda row: row["valid"])
    assert result.best_step == best["step"] < tiny.SETTINGS.steps
    assert result.best_score == best["valid"]
    kept[best["step"]]["prior"] = model.prior  # set afterwards, by fit_prior
    assert _same(_weights(model), kept[best["step"]])
    assert model.prior.tolist() == [1.0, float(len(tiny.validation()))]


def test_without_meta_valid_episodes_the_last_weights_are_kept_and_no_prior_is_fitted() -> None:
    model = tiny.learner()
    kept, progress = _snapshots(model)
    result = train(model, tiny.sampler(), [], FEW, progress=progress)
    assert _same(_weights(model), kept[6])
    assert (result.steps, result.best_step, result.best_score) == (6, 6, None)
    assert [row["valid"] for row in result.history] == [None, None, None]
    assert model.prior.tolist() == [0.0, 0.0]


def test_training_stops_after_patience_looks_without_a_better_score() -> None:
    plan = TrainingSettings(steps=1000, learning_rate=0.5, validate_every=5, patience=3)
    result = train(tiny.learner(), tiny.sampler(), tiny.validation(), plan)
    assert result.best_step is not None
    assert result.steps == result.best_step + 3 * 5 < 1000
    assert all(row["valid"] <= result.best_score for row in result.history[-3:])


def test_the_history_holds_the_mean_loss_between_looks() -> None:
    losses: list[float] = []

    class Noted(tiny.Tiny):
        def meta_loss(self, episodes: EpisodeBatch) -> Tensor:
            loss = super().meta_loss(episodes)
            losses.append(float(loss.detach()))
            return loss

    result = train(Noted(), tiny.sampler(), [], TrainingSettings(steps=5, validate_every=2))
    assert [row["step"] for row in result.history] == [2, 4, 5]
    means = [sum(losses[:2]) / 2, sum(losses[2:4]) / 2, losses[4]]
    assert [row["loss"] for row in result.history] == pytest.approx(means, rel=1e-12)


def test_a_learner_without_parameters_is_left_as_it_is() -> None:
    class Fixed(tiny.Tiny):
        def meta_loss(self, episodes: EpisodeBatch) -> Tensor:
            raise AssertionError("nothing to train")

    model = Fixed().requires_grad_(False)
    before = _weights(model)
    assert train(model, tiny.sampler(), tiny.validation(), FEW) == TrainingResult()
    assert _same(_weights(model), before)


def test_a_learner_in_closed_form_sees_every_whole_task_once_and_its_prior_the_meta_valid_tasks() -> None:
    told: list[str] = []
    looks: list[tuple[int, float]] = []
    learner = tiny.AtOnce()
    sampler, validation = tiny.sampler(), tiny.validation()
    result = train(
        learner,
        sampler,
        validation,
        FEW,
        progress=lambda done, total, message: told.append(f"{done}/{total} {message}"),
        watch=lambda step, best: looks.append((step, best)),
    )
    regression = [task for task in learner.seen if task.kind == "regression"]
    assert len(regression) == len(sampler.names)
    assert [task.targets.shape[1] for task in regression] == [len(sampler.collection[name]) for name in sampler.names]
    assert len(learner.seen) == (2 if sampler.plan.binary_share > 0 else 1) * len(regression)
    assert learner.prior.tolist() == [1.0, float(len(validation))]
    score = mean_log_likelihood(learner, [standardise_episodes(batch) for batch in validation])
    assert result.best_score == score
    assert looks == [(1, score)]
    assert result.history == ({"step": 1, "loss": None, "valid": score},)
    assert told == [f"1/1 learned from {len(learner.seen)} tasks at once, valid {score:.3f}"]
    assert not learner.training


def test_training_neither_reads_nor_moves_the_global_generator() -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(tiny.run(None, settings=FEW)[0])
        assert torch.equal(torch.get_rng_state(), before)
    assert results[0] == results[1]


def test_another_seed_gives_another_dropout() -> None:
    other = TrainingSettings(**{**FEW.as_json(), "seed": 6})
    assert tiny.run(None, settings=FEW)[0] != tiny.run(None, settings=other)[0]
    same = [tiny.run(None, settings=each, model=tiny.learner(dropout=0.0))[0] for each in (FEW, other)]
    assert same[0] == same[1]


class _Broken(tiny.Tiny):
    """Goes wrong in its third step, in the way that is asked for."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.steps = 0

    def meta_loss(self, episodes: EpisodeBatch) -> Tensor:
        self.steps += 1
        loss = super().meta_loss(episodes)
        if self.steps < 3:
            return loss
        if self.how == "loss":
            return loss * math.nan
        return loss + (self.log_noise - self.log_noise.detach()).sqrt()  # value 0, gradient infinite

    def predict(self, state: Tensor, query: CaseBatch) -> Law:
        law = super().predict(state, query)
        if self.how == "score" and not self.training and self.steps >= 2:
            return Normal(torch.full(query.mask.shape, math.inf), 1.0, validate_args=False)
        return law


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "loss",
            r"^the loss of step 3 is nan, not a finite number \(tasks t\d, t\d, t\d, \.\.\.\); lower the learning rate \(now 0.01\)",
        ),
        ("gradient", r"^the gradient of step 3 is (inf|nan), not a finite number \(tasks t\d"),
        ("score", r"^the meta-valid score after step 2 is -?(inf|nan), not a finite number; lower the learning rate"),
    ],
)
def test_what_is_not_finite_stops_the_run_and_names_the_step_and_a_remedy(how: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        train(_Broken(how), tiny.sampler(), tiny.validation(), FEW)


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6])
def test_a_resume_after_any_step_gives_the_same_bytes_and_history(tmp_path: Path, stop: int) -> None:
    def progress(done: int, total: int, message: str) -> None:
        if done == stop + 1:
            raise RuntimeError("stopped")

    if stop < FEW.steps:
        with pytest.raises(RuntimeError, match="stopped"):
            tiny.run(tmp_path / "c", settings=FEW, progress=progress)
    else:
        tiny.run(tmp_path / "c", settings=FEW)
    done: list[int] = []
    weights, result = tiny.run(
        tmp_path / "c", settings=FEW, resume=True, progress=lambda step, total, message: done.append(step)
    )
    whole, expected = tiny.run(None, settings=FEW)
    assert weights == whole
    assert result.history == expected.history
    assert repr(result.history) == repr(expected.history)
    assert done == list(range(stop + 1, 7))
    assert (result.steps, result.best_step, result.best_score) == (6, expected.best_step, expected.best_score)


def test_a_resume_of_an_early_stopped_run_stays_stopped(tmp_path: Path) -> None:
    plan = TrainingSettings(steps=1000, learning_rate=0.5, validate_every=5, patience=2, checkpoint_every=100)
    first = tiny.run(tmp_path / "c", settings=plan)
    again = tiny.run(tmp_path / "c", settings=plan, resume=True, progress=lambda *_: pytest.fail("no step is left"))
    assert first[0] == again[0]
    assert first[1].history == again[1].history


def _refused(folder: Path, **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "learner": tiny.learner(),
        "sampler": tiny.sampler(),
        "validation": tiny.validation(),
        "settings": FEW,
        "resume": True,
        **changes,
    }
    resume = arguments.pop("resume")
    with pytest.raises(InputError) as caught:
        train(*arguments.values(), checkpoints=folder, resume=resume)
    return str(caught.value)


def test_a_resume_with_other_settings_data_or_learner_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    tiny.run(folder, settings=FEW)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    changed = TrainingSettings(**{**FEW.as_json(), "learning_rate": 0.02, "steps": 7})
    assert "(steps 6, now 7; learning_rate 0.01, now 0.02); resume with the same settings" in _refused(
        folder, settings=changed
    )
    assert "were made with other data; resume with the same" in _refused(folder, sampler=tiny.sampler(seed=9))
    shifted = tiny.collection(shift=1e-9)
    assert "were made with other data" in _refused(folder, sampler=tiny.sampler(shifted))
    assert "were made with other data" in _refused(folder, validation=tiny.validation(tiny.collection(shift=1.0)))
    assert "were made with other data" in _refused(folder, validation=[])
    assert "another learner or other settings of it" in _refused(folder, learner=tiny.learner(dropout=0.3))
    assert "holds checkpoints of an earlier run; resume it or give another folder" in _refused(folder, resume=False)
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


def test_a_resume_without_a_folder_is_refused() -> None:
    with pytest.raises(InputError, match="resume was asked for without a checkpoint folder; give the folder"):
        tiny.run(None, resume=True)


def test_a_resume_from_a_folder_without_checkpoints_starts_at_zero_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights, _ = tiny.run(tmp_path / "none yet", settings=FEW, resume=True)
    assert weights == tiny.run(None, settings=FEW)[0]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "there is no checkpoint" in caplog.text


def test_a_resume_under_other_code_is_allowed_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.run(tmp_path / "c", settings=FEW)
    monkeypatch.setattr(fingerprints, "of_code", lambda: {"torch": "of tomorrow"})
    tiny.run(tmp_path / "c", settings=FEW, resume=True)
    assert "the code, torch or the number of threads or processes has changed since the checkpoint" in caplog.text


def test_a_checkpoint_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "c")
    tiny.run(tmp_path / "c", settings=FEW)
    found = folder.newest()
    assert found is not None
    for part in ("weights", "optimizer"):
        tensors = {name: named for name, named in found.tensors.items() if name != part}
        folder.save(Checkpoint(7, tensors, found.state))
        with pytest.raises(BundleError, match=r"the checkpoint of step 7 does not fit this learner .*another folder"):
            tiny.run(tmp_path / "c", settings=FEW, resume=True)


def test_training_works_outside_the_main_thread() -> None:
    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(tiny.run(None, settings=FEW)[0]))
    thread.start()
    thread.join()
    assert results == [tiny.run(None, settings=FEW)[0]]


def test_progress_tells_loss_score_and_the_time_that_is_left() -> None:
    told: list[tuple[int, int, str]] = []
    tiny.run(None, settings=FEW, progress=lambda *each: told.append(each))
    assert [(done, total) for done, total, _ in told] == [(step, 6) for step in range(1, 7)]
    assert told[0][2].startswith("loss 0.")
    assert told[0][2].endswith(" s left")
    assert ", valid -1." in told[1][2]
    assert " at step 2), at most " in told[1][2]
    assert "left" not in told[-1][2]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1.0, "0 s"),
        (41.6, "42 s"),
        (59.6, "1 min 00 s"),
        (185.0, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (3725.0, "1 h 02 min"),
        (90000.0, "25 h 00 min"),
    ],
)
def test_a_time_span_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_fingerprint_of_a_learner_sees_its_settings_and_shapes_and_not_its_weights() -> None:
    base = fingerprints.of_learner(tiny.learner())
    other = tiny.learner()
    with torch.no_grad():
        other.log_noise += 1
    assert fingerprints.of_learner(other.eval()) == base
    assert fingerprints.of_learner(tiny.learner(dropout=0.1)) != base
    other.kind = "binary"
    assert fingerprints.of_learner(other) != base
