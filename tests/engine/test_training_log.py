"""The log of a training: its reports, and trends in words."""

from collections.abc import Sequence

import pytest

from promptad.engine.training_log import TrainingLog


def log_of(
    losses: list[float], usage: list[float], aurocs: Sequence[float | None] = (), epochs: int = 100
) -> TrainingLog:
    log = TrainingLog(epochs)
    for loss in losses:
        log.add(loss)
    for auroc in aurocs or [None]:
        log.measure(usage, auroc)
    return log


def test_an_epoch_is_reported_in_the_documented_format() -> None:
    log = log_of([3 - 0.02 * n for n in range(96)], [0.3, 0.4, 0.3], [0.92, 0.94])
    assert log.report() == (
        "Epoch 95/100:\n  i_roc: 0.94 (improving)\n  Normal proto usage: balanced\n  Loss: converging"
    )
    assert log.line() == "i_roc 0.94 loss 1.100"


def test_without_a_test_split_no_auroc_is_reported() -> None:
    log = log_of([2.0, 1.5], [1.0])
    assert log.report() == "Epoch 1/100:\n  Normal proto usage: balanced\n  Loss: converging"
    assert log.line() == "loss 1.500"


@pytest.mark.parametrize(
    ("aurocs", "trend"),
    [
        ([0.9], "start"),
        ([0.5, 0.9, 0.9], "steady"),  # the rise was before the last measurement
        ([0.5, 0.9], "improving"),
        ([0.9, 0.894], "falling"),
        ([0.9, 0.896], "steady"),
        ([0.9, 0.906], "improving"),
    ],
)
def test_the_trend_of_the_auroc(aurocs: list[float], trend: str) -> None:
    assert f"({trend})" in log_of([1.0] * len(aurocs), [1.0], aurocs).report()


@pytest.mark.parametrize(
    ("losses", "trend"),
    [
        ([2.0], "start"),
        ([2.0, 1.0], "converging"),
        ([5.0] * 20 + [2.0] * 5 + [1.9] * 5, "converging"),
        ([2.0] * 5 + [1.99] * 5, "converged"),
        ([1.0] * 5 + [1.1] * 5, "rising"),
        ([9.0] * 5 + [1.0] * 10, "converged"),
        ([-1.0] * 5 + [-1.2] * 5, "converging"),
        ([0.0] * 10, "converged"),
    ],
)
def test_the_trend_of_the_loss(losses: list[float], trend: str) -> None:
    assert log_of(losses, [1.0]).report().endswith(f"Loss: {trend}")


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        ([1.0], "balanced"),
        ([0.21, 0.33, 0.46], "balanced"),
        ([0.1, 0.45, 0.45], "one-sided (prototype 1 has 10%)"),
        ([0.2, 0.2, 0.6], "one-sided (prototype 3 has 60%)"),
        ([0.31, 0.69], "balanced"),
        ([0.29, 0.71], "one-sided"),
    ],
)
def test_the_words_for_usage(usage: list[float], words: str) -> None:
    assert f"Normal proto usage: {words}" in log_of([1.0], usage).report()


def test_every_tenth_epoch_and_the_last_are_due() -> None:
    log, due = TrainingLog(23), []
    for number in range(24):
        log.add(1.0)
        if log.is_due():
            due.append(number)
    assert due == [0, 10, 20, 23]


def test_what_labelled_images_say_of_a_training_is_said_in_words() -> None:
    (below,) = log_of([2.0], [1.0], [0.4, 0.43]).findings(from_words=True)
    assert below.startswith("image AUROC 0.43 is below chance")
    (worse,) = log_of([2.0], [1.0], [0.9, 0.7]).findings(from_words=True)
    assert "(i_roc 0.70) than the starting words (0.90)" in worse
    assert log_of([2.0], [1.0], [0.9, 0.7]).findings(from_words=False) == ()
    assert log_of([2.0], [1.0], [0.9, 0.89]).findings(from_words=True) == ()
    assert log_of([2.0], [1.0]).findings(from_words=True) == ()
