"""Whether the pictures have changed: what is said, once for each change, and what is not."""

from collections.abc import Iterable
from random import Random

import pytest
from PIL import Image, ImageEnhance, ImageFilter

from promptad.data.demo import draw_image
from promptad.runtime.drift import FROM_FIRST, LEAST, LEVEL, WINDOW, Drift, follow, most_usual
from promptad.runtime.look import look_of
from promptad.runtime.records import PredictionRecord
from promptad.structures import ANOMALY, GOOD, Explanation, Look

USUAL = Look(100.0, 2.0)


def picture(
    number: int = 0, label: str = GOOD, distance: float | None = 0.3, look: Look | None = USUAL
) -> PredictionRecord:
    explanation = Explanation(1, ("with hole",), None, 1.0, None, None, distance)
    return PredictionRecord(f"{number}.png", label, threshold=1.0, explanation=explanation, look=look)


def pictures(count: int, **own: object) -> list[PredictionRecord]:
    return [picture(number, **own) for number in range(count)]  # type: ignore[arg-type]


def with_defects(count: int, share: float, seed: int = 1) -> list[PredictionRecord]:
    """A stream in which a share of the pictures is rejected, far from the support images."""
    random = Random(seed)
    bad = [random.random() < share for _ in range(count)]
    return [picture(n, ANOMALY if is_bad else GOOD, 9.0 if is_bad else 0.3) for n, is_bad in enumerate(bad)]


def causes(lines: Iterable[str]) -> list[str]:
    """What lines say has changed."""
    known = ("are rejected", "are farther", "darker", "lighter", "less sharp")
    return [" ".join(word for word in known if word in line) for line in lines]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_defects_are_no_change(share: float) -> None:
    for seed in range(5):
        assert follow(Drift([USUAL]), with_defects(2000, share, seed)) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"label": ANOMALY}, "are rejected"),
        ({"distance": 1.6}, "are farther"),
        ({"look": Look(70.0, 2.0)}, "darker"),
        ({"look": Look(125.0, 2.0)}, "lighter"),
        ({"look": Look(100.0, 1.5)}, "less sharp"),
    ],
)
def test_a_change_is_one_line_with_what_to_look_at(changed: dict[str, object], expected: str) -> None:
    drift = Drift()
    assert follow(drift, with_defects(200, 0.05)) == []
    (line,) = follow(drift, pictures(300, **changed))
    assert causes([line]) == [expected]
    assert "look at light, camera and part" in line
    assert "learn from new good pictures" in line
    assert ".png" in line


def test_a_second_change_is_another_line_and_one_that_ends_and_comes_again_too() -> None:
    drift = Drift()
    stream = pictures(100) + pictures(100, look=Look(60.0, 2.0)) + pictures(100, label=ANOMALY, look=Look(60.0, 2.0))
    assert causes(follow(drift, stream)) == ["darker", "are rejected"]
    assert follow(drift, pictures(100)) == []
    assert causes(follow(drift, pictures(100, look=Look(60.0, 2.0)))) == ["darker"]


def test_what_changes_together_is_one_line() -> None:
    drift = Drift()
    changed = pictures(100, label=ANOMALY, distance=5.0, look=Look(60.0, 1.0))
    assert len(follow(drift, pictures(100) + changed)) == 1


def test_pictures_that_differ_from_the_start_are_told_by_the_support_images_alone() -> None:
    dark = pictures(60, look=Look(60.0, 2.0))
    assert follow(Drift(), dark) == []
    (line,) = follow(Drift([USUAL, Look(95.0, 2.1)]), dark)
    assert "darker than those learned from (0.63 times)" in line
    assert follow(Drift([USUAL, Look(95.0, 2.1)]), pictures(60, look=Look(90.0, 2.0))) == []


def test_few_pictures_and_unreadable_ones_say_nothing() -> None:
    assert follow(Drift([USUAL]), pictures(LEAST - 1, label=ANOMALY, distance=5.0)) == []
    unreadable = [PredictionRecord(f"{n}.png", error="no picture") for n in range(100)]
    assert follow(Drift([USUAL]), unreadable) == []


def test_lines_of_an_older_promptad_are_followed_by_their_decisions_alone() -> None:
    old = pictures(100, distance=None, look=None)
    assert causes(follow(Drift([USUAL]), old + pictures(100, label=ANOMALY, distance=None, look=None))) == [
        "are rejected"
    ]


def test_a_line_that_always_rejects_many_is_told_once() -> None:
    assert len(follow(Drift(), with_defects(3000, 0.6))) == 1


def test_a_long_run_is_recalled_as_it_was_followed() -> None:
    before = with_defects(1000, 0.1) + pictures(100, look=Look(60.0, 2.0))
    followed, recalled = Drift([USUAL]), Drift([USUAL])
    assert len(follow(followed, before)) == 1
    recalled.recall(before)
    for drift in (followed, recalled):
        assert follow(drift, pictures(100, look=Look(60.0, 2.0))) == []
        assert causes(follow(drift, with_defects(200, 0.9))) == ["are rejected are farther"]
    late = pictures(300) + pictures(300, label=ANOMALY)
    recalled = Drift()
    recalled.recall(late)
    assert follow(recalled, pictures(50, label=ANOMALY)) == []


def test_the_share_is_told_beside_the_window() -> None:
    drift = Drift()
    follow(drift, with_defects(WINDOW, 0.0) + pictures(10, label=ANOMALY, distance=0.5))
    assert (drift.rejected, drift.distance, drift.brightness) == (0.2, 0.3, USUAL.brightness)


def test_more_than_usual_is_hardly_by_chance() -> None:
    random = Random(1)
    limit = most_usual(WINDOW, 0.25)
    counts = [sum(random.random() < 0.25 for _ in range(WINDOW)) for _ in range(20_000)]
    assert sum(count > limit for count in counts) <= 20_000 * LEVEL * 10
    assert limit < WINDOW / 2 + 3


def test_a_look_tells_light_from_sharpness() -> None:
    drawn, _ = draw_image("carpet", style_seed=7, instance_seed=1, defect=None)
    defective, _ = draw_image("carpet", style_seed=7, instance_seed=1, defect="hole")
    image = Image.fromarray(drawn)
    usual, dark = look_of(image), look_of(ImageEnhance.Brightness(image).enhance(0.7))
    blurred, other = look_of(image.filter(ImageFilter.GaussianBlur(1.5))), look_of(Image.fromarray(defective))
    assert dark.brightness == pytest.approx(0.7 * usual.brightness, rel=0.02)
    assert dark.sharpness == pytest.approx(usual.sharpness, rel=0.05)
    assert blurred.brightness == pytest.approx(usual.brightness, rel=0.02)
    assert blurred.sharpness < usual.sharpness / FROM_FIRST["sharpness"]
    assert other.sharpness == pytest.approx(usual.sharpness, rel=0.05)
    assert look_of(Image.new("RGB", (8, 8), "red")).sharpness == 0
