"""Teaching: what a trained detector becomes by people's verdicts on pictures. Nothing is trained anew.

Every change starts from the untaught detector and applies all verdicts at once: so their order does not matter, and
what is undone leaves no trace.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from promptad.data.fingerprints import image_sha256
from promptad.data.images import ImageLike
from promptad.errors import InputError
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import resampled
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.head import PrototypeHead
from promptad.models.multi_prototype.known_defects import KnownDefects
from promptad.models.multi_prototype.normal_scores import ConfirmedScores, NormalScoreDistribution
from promptad.models.multi_prototype.threshold import map_maxima
from promptad.models.multi_prototype.verdicts import Taught, Verdict, named_verdicts
from promptad.settings import BATCH_SIZE


@dataclass(frozen=True)
class NewVerdicts:
    """Pictures with a verdict that a detector has not been taught, and those with one that it has."""

    images: tuple[ImageLike, ...]
    verdicts: tuple[Verdict, ...]
    repeated: tuple[Verdict, ...]  # the same again


def new_verdicts(
    detector: MultiPrototypeDetector, good: Sequence[ImageLike] = (), defect: Sequence[ImageLike] = ()
) -> NewVerdicts:
    """Return which of the verdicts on these pictures, told apart by their content, are new to a detector.

    Raises:
        InputError: a picture cannot be read, or is called good and defective, now or in an earlier verdict.
    """
    known = {} if detector.taught is None else {one.sha256: one for one in detector.taught.verdicts}
    now, earlier = datetime.now(UTC).isoformat(timespec="seconds"), set(known)
    images: dict[str, ImageLike] = {}
    repeated = []
    for image, verdict in _given(detector, good, defect, now):
        before = known.setdefault(verdict.sha256, verdict)
        if before.is_good != verdict.is_good:
            _refuse(before, verdict, before.sha256 in earlier)
        if before.sha256 in earlier:
            repeated.append(before)
        images.setdefault(verdict.sha256, image)
    fresh = [sha256 for sha256 in images if sha256 not in earlier]
    return NewVerdicts(
        tuple(images[sha256] for sha256 in fresh), tuple(known[sha256] for sha256 in fresh), tuple(repeated)
    )


def _given(
    detector: MultiPrototypeDetector, good: Sequence[ImageLike], defect: Sequence[ImageLike], time: str
) -> Iterator[tuple[ImageLike, Verdict]]:
    bit_depth = detector.settings.bit_depth
    for images, is_good in ((good, True), (defect, False)):
        for number, image in enumerate(images, 1):
            name = Path(image).name if isinstance(image, str | Path) else f"image {number}"
            yield image, Verdict(name, image_sha256(image, bit_depth), time, is_good)


def _refuse(before: Verdict, verdict: Verdict, is_earlier: bool) -> None:
    """Raise the InputError of a picture with two verdicts."""
    if is_earlier:
        raise InputError(
            f"{verdict.name} was called {before.label} on {before.time[:10]}, as {before.called}: if it is"
            f" {verdict.label}, `undo` {before.called} first"
        )
    same = "" if before.name == verdict.name else f" (as {before.name})"
    raise InputError(f"{verdict.name}{same} is given as good and as defective: decide for one")


def confirm(
    detector: MultiPrototypeDetector,
    new: NewVerdicts,
    batch_size: int = BATCH_SIZE,
    advance: Callable[[int], None] = lambda _: None,
    masks: Path | None = None,
) -> MultiPrototypeDetector:
    """Return a detector that has also been taught new verdicts; `advance` is called with how many are encoded.

    `masks` is the folder of the pictures' regions, where each has its own.

    Raises:
        InputError: it has no threshold, a picture cannot be read, or a support image is called defective.
    """
    _ = detector.known_scores
    if not new.images:
        return detector
    encoded = detector.encode(new.images, batch_size, advance, masks=masks)
    features = encoded.map(torch.clone)  # of inference tensors
    _check_support(detector, new, features)
    verdicts, taught = new.verdicts, detector.taught
    if taught is not None:
        verdicts, features = (*taught.verdicts, *verdicts), ImageFeatures.joined([taught.features, features])
    return taught_by(detector.untaught, verdicts, features)


def undo(detector: MultiPrototypeDetector, names: Iterable[str]) -> MultiPrototypeDetector:
    """Return a detector as if it had never been taught some verdicts, named by files, hashes, or as "all".

    Raises:
        InputError: a name is of no verdict, or of several.
    """
    taught = detector.taught
    verdicts = () if taught is None else taught.verdicts
    undone = named_verdicts(verdicts, list(names))
    if taught is None:
        return detector
    kept = torch.tensor([verdict not in undone for verdict in verdicts])
    left = tuple(verdict for verdict in verdicts if verdict not in undone)
    return taught_by(detector.untaught, left, taught.features_of(kept))


def count_right(detector: MultiPrototypeDetector, taught: Taught) -> tuple[int, int]:
    """Return how many good and how many defective pictures of verdicts a detector decides as people did."""
    scores = detector.score(taught.features)
    rejected = ~(detector.per_image(detector.thresholds.raw_scores(scores)) <= detector.thresholds.image)
    return int((~rejected & taught.is_good).sum()), int((rejected & ~taught.is_good).sum())


def taught_by(
    untaught: MultiPrototypeDetector, verdicts: tuple[Verdict, ...], features: ImageFeatures
) -> MultiPrototypeDetector:
    """Return an untaught detector after verdicts on pictures with these features."""
    if not verdicts:
        return untaught
    assert untaught.normal_scores is not None, "the detector has no threshold"
    taught = Taught(verdicts, features, untaught.head, untaught.normal_scores)
    head, normal_scores = _teach(untaught, taught)
    detector = replace(untaught, head=head, taught=taught)
    return detector.with_thresholds(normal_scores, untaught.settings.scoring)


def _teach(untaught: MultiPrototypeDetector, taught: Taught) -> tuple[PrototypeHead, NormalScoreDistribution]:
    """Return the head and the normal scores of an untaught detector after verdicts."""
    scoring = untaught.settings.scoring
    good, defective = (taught.features_of(chosen) for chosen in (taught.is_good, ~taught.is_good))
    head = with_good(taught.head, good)
    of_good, of_defects = head.score(_left_out(taught.head, good, taught.tiles)), head.score(defective)
    image = (_highest(untaught, own.image) for own in (of_good, of_defects))
    maxima = (_highest(untaught, map_maxima(own, scoring)) for own in (of_good, of_defects))
    scores = replace(
        taught.normal_scores, confirmed_scores=ConfirmedScores(*image), confirmed_maxima=ConfirmedScores(*maxima)
    )
    if not len(defective.class_token):
        return head, scores
    known = [] if head.likeness is None else [head.likeness.samples]
    normal = torch.cat([*known, good.patch_tokens.flatten(0, 1)])
    _, patches, dimensions = defective.patch_tokens.shape
    tokens = defective.patch_tokens.view(-1, taught.tiles * patches, dimensions)  # [picture, patch, D]
    of_patches, threshold = resampled(of_defects.patches.flatten(1), patches), untaught.thresholds.pixel
    defects = KnownDefects.fit(tokens, of_patches.reshape(tokens.shape[:2]), threshold, normal)
    return head.taught(head.memory, head.likeness, defects), scores


def with_good(head: PrototypeHead, good: ImageFeatures) -> PrototypeHead:
    """Return a head whose memory bank holds the patches of N good images, and to which they are like the part."""
    memory, likeness = head.memory, head.likeness
    if len(good.class_token):
        memory = None if memory is None else replace(memory, bank=memory.bank.with_images(good))
        likeness = None if likeness is None else likeness.including(good.patch_tokens)
    return head.taught(memory, likeness, None)


def _left_out(head: PrototypeHead, good: ImageFeatures, tiles: int) -> ImageFeatures:
    """Return good images' tiles with the distances of each image to a bank that holds the others, if there is one."""
    if head.memory is None or not len(good.class_token):
        return good
    return head.memory.bank.add_left_out_distances(good, tiles)


def _check_support(detector: MultiPrototypeDetector, new: NewVerdicts, features: ImageFeatures) -> None:
    """Check that no support image is called defective.

    Raises:
        InputError: one is.
    """
    if (likeness := detector.untaught.head.likeness) is None:
        return
    images = detector.settings.training.k_shot * detector.settings.tile_count
    found = likeness.is_support_image(features.patch_tokens, images).view(len(new.verdicts), -1).all(1)
    for verdict, is_support in zip(new.verdicts, found.tolist(), strict=True):
        if is_support and not verdict.is_good:
            raise InputError(
                f"{verdict.name} is one of the good pictures that the detector learned from: if it is defective, train"
                " again without it"
            )


def _highest(detector: MultiPrototypeDetector, scores: Tensor) -> tuple[float, ...]:
    """Return the scores of images, the highest of their tiles."""
    return tuple(detector.per_image(scores).double().tolist())
