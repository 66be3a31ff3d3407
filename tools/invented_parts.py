"""Invented parts: materials, shapes, cameras and defects at random, far beyond the demo's fifteen classes.

A family has everything that the parts of one production line share. The more that families differ, the more of what a
tiny CLIP learns of comparing parts holds for parts that nobody drew. Photographs in a folder, if there are any, serve
as textures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from promptad.data.demo.canvas import (
    CENTER,
    COLUMNS,
    ROWS,
    SIDE,
    UNITS,
    Canvas,
    Color,
    Field,
    FloatImage,
    Mask,
    Part,
    Point,
    Random,
    around,
    clouds,
    hsv,
    painted,
    seeded,
    softened,
)
from promptad.data.demo.defects import Severity, damage

CAMERA_SIDE = 224  # pixels of a photograph of an invented part
UNNAMED = -1  # kind of a defect that no phrase names
GRAY_FAMILIES = 0.6  # share that is seen in shades of gray
TEXTURE_FAMILIES = 0.55  # share that fills the image
OWN_DEFECTS = 0.45  # share of the defects that are not the demo's kinds
PHOTO_MAKERS = 5  # of a surface, beside seven others, where there are photographs

SURFACES = ("surface", "sheet", "fabric", "panel", "plate", "film", "paper", "stone", "foil", "board", "textile")
OBJECTS = ("disc", "ring", "block", "housing", "gasket", "bracket", "casting", "component", "cap", "chip", "product")
NAMES = SURFACES + OBJECTS  # what invented parts are called

Layer = Callable[[Random], Field]  # draws a field of about unit deviation for one part


@dataclass(frozen=True)
class Family:
    """What all parts of an invented production line share."""

    name: str
    surface: Layer  # brightness, around 1
    colors: FloatImage  # [256, 1, 3], the color of each brightness
    shape: Mask | None  # outline; None fills the image
    drawing: FloatImage  # [row, column, 4]: structures that every part has, and their opacity
    relief: Field  # shading that every part has
    ground: FloatImage  # [row, column, channel], behind the part
    turn: float  # degrees of play
    shift: float  # units of play
    zoom: tuple[float, float]  # of columns and of rows
    light: float  # play of light, relative
    blur: tuple[float, float]  # pixels
    noise: tuple[float, float]  # gray levels
    noise_grain: int  # pixels of the sensor's noise
    banding: float  # gray levels of noise by row
    is_gray: bool
    quality: int  # of JPEG; 100 is none


def draw_invented_trio(
    seed: int, tries: int, kinds: tuple[str, ...], photos: Path | None
) -> tuple[list[np.ndarray], Mask, int, int]:
    """Draw a good part, another good part with its defective twin, of a family of their own.

    Returns:
        The three images [side, side, 3] uint8 in the order other, good, defective; the mask of the defect [side, side]
        uint8; the number of the name in NAMES; and the number of the kind of defect in `kinds`, or UNNAMED.
    """
    style = seeded(seed, 1)
    family = make_family(style, photos)
    part, pose = _draw_part(family, seeded(seed, 3)), _pose(family, seeded(seed, 4))
    good = _photograph(part, family, seeded(seed, 4))
    for attempt in range(tries):
        damaged, mask, kind = _damaged(part, family, seeded(seed, 2, attempt), kinds, photos)
        bad = _photograph(damaged, family, seeded(seed, 4))
        seen = np.asarray(cv2.warpAffine(mask, pose, (CAMERA_SIDE, CAMERA_SIDE)), np.uint8)
        if _is_visible(good, bad, seen, family):
            break
    other = _photograph(_draw_part(family, seeded(seed, 5)), family, seeded(seed, 6))
    return [other, good, bad], np.where(seen > 100, 255, 0).astype(np.uint8), NAMES.index(family.name), kind


def make_family(random: Random, photos: Path | None) -> Family:
    """Invent a production line."""
    fills = random.random() < TEXTURE_FAMILIES
    shape = None if fills else _outline(random)
    drawing = _drawing(random, often=not fills)
    noisy, soft = random.random() < 0.3, random.random() < 0.3
    level = random.uniform(6, 16) if noisy else random.uniform(0.5, 5)
    squeeze = np.exp(random.uniform(-0.5, 0.5)) if random.random() < 0.5 else 1.0
    zoom = random.uniform(0.9, 1.5) if fills else random.uniform(1, 1.6)
    aligned = random.random() < (0.5 if fills else 0.75)
    return Family(
        name=str(random.choice(SURFACES if fills else OBJECTS)),
        surface=_surface(random, photos),
        colors=_colors(random),
        shape=shape,
        drawing=drawing,
        relief=1 + random.uniform(0, 0.25) * _smooth(random) + _vignette(random),
        ground=_ground(random, photos),
        turn=random.uniform(0, 6)
        if aligned
        else (180 if not fills and random.random() < 0.5 else random.uniform(0, 15)),
        shift=random.uniform(0, 5) if aligned else random.uniform(3, 14),
        zoom=(zoom * squeeze, zoom / squeeze),
        light=random.uniform(0, 0.22),
        blur=tuple(sorted(random.uniform(0.2, 3.0 if soft else 1.2, 2))),
        noise=(0.7 * level, 1.3 * level),
        noise_grain=int(random.choice((1, 2, 3), p=(0.5, 0.35, 0.15))),
        banding=random.uniform(0, 3) if random.random() < 0.2 else 0.0,
        is_gray=random.random() < GRAY_FAMILIES,
        quality=100 if random.random() < 0.6 else int(random.uniform(40, 95)),
    )


def _turn(random: Random, *, aligned: bool, fills: bool) -> float:
    if aligned:
        return random.uniform(0, 6)
    return 180 if not fills and random.random() < 0.5 else random.uniform(0, 15)


# Materials ------------------------------------------------------------------------------------------------------------


def _surface(random: Random, photos: Path | None) -> Layer:
    """Mix one to three materials; some are the same on every part, as a print is, others new on each."""
    count = int(random.choice((1, 2, 3), p=(0.35, 0.4, 0.25)))
    makers: list[Callable[[Random], Layer]] = [_noise, _noise, _waves, _lattice, _cells, _blobs, _fibers]
    if photos is not None:
        makers += [lambda own: _photo(own, photos)] * PHOTO_MAKERS
    layers, weights, frozen = [], random.dirichlet(np.ones(count)), random.random(count) < 0.25
    for maker, is_frozen in zip(random.choice(len(makers), count), frozen, strict=True):
        layer = makers[maker](random)
        layers.append(_repeated(layer(random)) if is_frozen else layer)
    depth = 0.0 if random.random() < 0.08 else float(np.exp(random.uniform(np.log(0.02), np.log(0.35))))

    def draw(instance: Random) -> Field:
        mixed = sum(np.float32(weight) * layer(instance) for weight, layer in zip(weights, layers, strict=True))
        field = np.asarray(mixed, np.float32)
        return 1 + np.float32(depth) * field / np.float32(max(float(field.std()), 1e-3))

    return draw


def _repeated(field: Field) -> Layer:
    return lambda _: field


def _noise(random: Random) -> Layer:
    """Noise of a random spectrum, along a random direction or all around."""
    slope, angle = random.uniform(0.2, 2.6), random.uniform(0, np.pi)
    stretch = float(np.exp(random.uniform(0, 3))) if random.random() < 0.4 else 1.0
    least, most = sorted(np.exp(random.uniform(np.log(1), np.log(90), 2)))
    x, y = np.meshgrid(np.fft.rfftfreq(SIDE) * SIDE, np.fft.fftfreq(SIDE) * SIDE)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    radius = np.hypot(along * stretch, across / stretch).clip(1)
    spectrum = (radius**-slope * ((radius > 0.5 * least) & (radius < 1.5 * most + 20))).astype(np.float32)

    def draw(instance: Random) -> Field:
        white = np.fft.rfft2(instance.standard_normal((SIDE, SIDE), dtype=np.float32))
        return _unit(np.fft.irfft2(white * spectrum, s=(SIDE, SIDE)).astype(np.float32))

    return draw


def _waves(random: Random) -> Layer:
    """One or two trains of waves, soft or square: weaves, grooves, bars."""
    trains = [(random.uniform(0, np.pi), float(np.exp(random.uniform(np.log(0.06), np.log(1.6))))) for _ in range(2)]
    steep, bend, product = random.choice((0.8, 3, 12)), random.uniform(0, 1.2), random.random() < 0.4
    single = random.random() < 0.5

    def draw(instance: Random) -> Field:
        warp = np.float32(bend) * clouds(instance, 3) if bend > 0.4 else np.float32(0)
        fields = []
        for angle, pitch in trains[: 1 if single else 2]:
            phase = instance.uniform(0, 2 * np.pi)
            wave = np.sin((COLUMNS * np.cos(angle) + ROWS * np.sin(angle)) * pitch + phase + warp)
            fields.append(np.tanh(steep * wave))
        mixed = fields[0] if single else fields[0] * fields[1] if product else np.maximum(*fields)
        return _unit(np.broadcast_to(mixed, (SIDE, SIDE)).astype(np.float32))

    return draw


def _lattice(random: Random) -> Layer:
    """Dots or rings on a lattice, straight or staggered."""
    pitch, size = random.uniform(5, 28), random.uniform(0.15, 0.45)
    angle, staggered, hollow = random.uniform(0, np.pi), random.random() < 0.5, random.random() < 0.3

    def draw(instance: Random) -> Field:
        left, top = instance.uniform(0, pitch, 2)
        x = COLUMNS * np.cos(angle) + ROWS * np.sin(angle) + left
        y = ROWS * np.cos(angle) - COLUMNS * np.sin(angle) + top
        row = np.floor(y / pitch)
        x = x + (row % 2) * pitch / 2 * staggered
        distance = np.hypot(x / pitch % 1 - 0.5, y / pitch % 1 - 0.5)
        inside = 1 / (1 + np.exp((distance - size) * 30))
        if hollow:
            inside = inside - 1 / (1 + np.exp((distance - 0.6 * size) * 30))
        return _unit(inside.astype(np.float32))

    return draw


def _cells(random: Random) -> Layer:
    """Cells around random points, each of its own shade, with or without seams: grains, tiles, gravel."""
    count, seams = int(np.exp(random.uniform(np.log(12), np.log(1500)))), random.uniform(-2, 2)

    def draw(instance: Random) -> Field:
        points = np.full((SIDE, SIDE), 255, np.uint8)
        points[instance.integers(0, SIDE, count), instance.integers(0, SIDE, count)] = 0
        distance, labels = cv2.distanceTransformWithLabels(points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        shades = instance.standard_normal(count + 1).astype(np.float32)
        edge = distance / max(float(distance.std()), 1e-3)
        return _unit(shades[np.minimum(labels, count)] + np.float32(seams) * np.asarray(edge, np.float32))

    return draw


def _blobs(random: Random) -> Layer:
    """Flakes or pits: smooth noise above a threshold."""
    cells, threshold = int(np.exp(random.uniform(np.log(5), np.log(60)))), random.uniform(0.4, 1.6)
    sign = random.choice((-1, 1))

    def draw(instance: Random) -> Field:
        return _unit(np.float32(sign) * np.clip((clouds(instance, cells) - threshold) * 4, 0, 1))

    return draw


def _fibers(random: Random) -> Layer:
    """Many fine strokes in about one direction, or in all."""
    count, length = int(random.uniform(60, 500)), float(np.exp(random.uniform(np.log(4), np.log(60))))
    main, play, width = random.uniform(0, np.pi), random.choice((0.08, 0.5, 3)), random.uniform(0.6, 2)

    def draw(instance: Random) -> Field:
        canvas = Canvas()
        for (x, y), turn, level in zip(
            instance.uniform(0, UNITS, (count, 2)),
            instance.normal(main, play, count),
            instance.integers(60, 255, count),
            strict=True,
        ):
            reach = length / 2 * np.array([np.cos(turn), np.sin(turn)])
            center = np.array([x, y])
            canvas.line([center - reach, center + reach], width, int(level))
        return _unit(canvas.pixels.astype(np.float32))

    return draw


def _photo(random: Random, folder: Path) -> Layer:
    """A piece of a photograph: the same piece on every part, or any piece of the same size."""
    images = _photographs(folder)
    image = images[random.integers(len(images))]
    side = int(min(image.shape[:2]) * random.uniform(0.2, 0.9))
    same = random.random() < 0.6
    places = [int(random.integers(0, size - side + 1)) for size in image.shape[:2]]

    def draw(instance: Random) -> Field:
        top, left = places if same else (int(instance.integers(0, size - side + 1)) for size in image.shape[:2])
        piece = image[top : top + side, left : left + side]
        return _unit(np.asarray(cv2.resize(piece, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32))

    return draw


@cache
def _photographs(folder: Path) -> list[Field]:
    """Read all photographs of a folder, in gray levels."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return [np.asarray(Image.open(file).convert("L"), np.float32) for file in files]


# Shapes and structures ------------------------------------------------------------------------------------------------


def _outline(random: Random) -> Mask:
    """One or a few simple shapes joined, with or without holes."""
    canvas = Canvas()
    for _ in range(int(random.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))):
        _shape(canvas, random, random.uniform(34, 62), random.normal(CENTER, 5, 2), 255)
    for _ in range(int(random.choice((0, 1, 3), p=(0.55, 0.3, 0.15)))):
        _shape(canvas, random, random.uniform(6, 18), random.normal(CENTER, 14, 2), 0)
    return np.asarray(canvas.pixels, np.uint8)


def _shape(canvas: Canvas, random: Random, radius: float, center: Point, color: Color | int) -> None:
    """Fill an ellipse, a box, a star or a rough blob."""
    what, squeeze = random.random(), random.uniform(0.45, 1)
    if what < 0.3:
        canvas.ellipse(center[0], center[1], radius, radius * squeeze, color)
        return
    if what < 0.55:
        half = radius * np.array([1, squeeze]) * (1 if random.random() < 0.5 else -1)
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    else:
        points = int(random.integers(3, 24))
        uneven = np.tile(random.uniform(0.6, 1, 2), points)[:points] if what < 0.8 else random.uniform(0.65, 1, points)
        corners = around(np.arange(points) * 2 * np.pi / points, radius) - CENTER
        corners = corners * uneven[:, None] * np.array([1, squeeze])
    turn = random.uniform(0, np.pi) if random.random() < 0.4 else 0.0
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    canvas.polygon(corners @ rotation.T + center, color)


def _drawing(random: Random, *, often: bool) -> FloatImage:
    """Structures of other brightness that every part has: bars, rings, fields, rows of pads, letters."""
    paint, cover = Canvas(np.zeros(3, np.float32)), Canvas()
    if random.random() > (0.8 if often else 0.4):
        return np.zeros((SIDE, SIDE, 4), np.float32)
    for _ in range(int(random.integers(1, 7))):
        color = hsv(random, saturation=(0, 0.7), value=(0.05, 1))
        _structure(paint, cover, random, color)
    opacity = np.float32(random.uniform(0.35, 1)) * (cover.pixels.astype(np.float32) / 255)
    return np.concatenate([paint.pixels.astype(np.float32), opacity[..., None]], axis=2)


def _structure(paint: Canvas, cover: Canvas, random: Random, color: Color) -> None:
    both: tuple[tuple[Canvas, Color | int], ...] = ((paint, color), (cover, 255))
    what = random.random()
    if what < 0.3:  # bars across
        at, width = random.uniform(10, UNITS - 10), random.uniform(1, 9)
        ends = [(at, -9.0), (at, UNITS + 9.0)] if random.random() < 0.5 else [(-9.0, at), (UNITS + 9.0, at)]
        for canvas, value in both:
            canvas.line(ends, width, value)
    elif what < 0.5:
        radius, width = random.uniform(8, 55), random.uniform(1, 9)
        for canvas, value in both:
            canvas.arc(radius, width, value)
    elif what < 0.75:
        state, center, radius = random.bit_generator.state, random.uniform(25, UNITS - 25, 2), random.uniform(5, 25)
        after = []
        for canvas, value in both:
            random.bit_generator.state = state
            _shape(canvas, random, radius, center, value)
            after.append(random.bit_generator.state)
        random.bit_generator.state = after[-1]
    elif what < 0.9:  # a row of pads
        start, step = random.uniform(20, 50, 2), random.uniform(6, 14) * np.array([1, 0])
        step = step if random.random() < 0.5 else step[::-1]
        half = random.uniform(1.2, 4)
        for pad in range(int(random.integers(3, 10))):
            x, y = start + pad * step
            for canvas, value in both:
                canvas.box(x - half, y - half, x + half, y + half, value)
    else:
        words = "".join(random.choice(list("ABCDEFHKLMNPRSTXYZ0123456789"), 4))
        left, bottom = random.uniform(20, 70), random.uniform(40, 110)
        for canvas, value in both:
            canvas.text(words, left, bottom, random.uniform(0.4, 0.7), 1, value)


def _colors(random: Random) -> FloatImage:
    """The colors of brightnesses 0 to 255: from one through another to a third, dark to bright, or the reverse."""
    middle = random.uniform(60, 200)
    tint = hsv(random, saturation=(0, 0.8), value=(1, 1))
    levels = np.arange(256, dtype=np.float32)[:, None] / 128  # [level, 1], 1 is the mean brightness
    ramp = middle * levels ** np.float32(random.uniform(0.6, 1.6))
    other = hsv(random, saturation=(0, 0.8), value=(1, 1))
    share = np.clip(levels - 0.6, 0, 1)
    colors = ramp * (tint * (1 - share) + other * share) / 255
    return np.asarray(colors.clip(0, 255)[:, None, :], np.float32)


def _ground(random: Random, photos: Path | None) -> FloatImage:
    color = hsv(random, saturation=(0, 0.3), value=(0.02, 0.3) if random.random() < 0.6 else (0.6, 1))
    if random.random() < 0.7:
        return np.broadcast_to(color, (SIDE, SIDE, 3)).astype(np.float32)
    return (color * _surface(random, photos)(random)[..., None]).astype(np.float32)


def _smooth(random: Random) -> Field:
    return clouds(random, int(random.integers(2, 6)))


def _vignette(random: Random) -> Field:
    """Brighter in the middle, or darker at one side, or neither."""
    if random.random() < 0.5:
        return np.zeros((SIDE, SIDE), np.float32)
    x, y = (COLUMNS - CENTER) / CENTER, (ROWS - CENTER) / CENTER
    return np.asarray(-random.uniform(0, 0.3) * (x**2 + y**2) + random.uniform(-0.2, 0.2) * x, np.float32)


def _unit(field: Field) -> Field:
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-4), np.float32)


# Parts, defects, photographs ------------------------------------------------------------------------------------------


def _draw_part(family: Family, instance: Random) -> Part:
    brightness = family.surface(instance) * family.relief
    levels = np.clip(brightness * 128, 0, 255).astype(np.uint8)
    image = family.colors[levels, 0]
    opacity = family.drawing[..., 3:]
    image = image + (family.drawing[..., :3] * (0.7 + 0.3 * brightness[..., None]) - image) * opacity
    alpha = np.full((SIDE, SIDE), 255, np.uint8) if family.shape is None else family.shape
    return Part(np.asarray(image, np.float32), alpha, is_texture=family.shape is None)


def _damaged(
    part: Part, family: Family, random: Random, kinds: tuple[str, ...], photos: Path | None
) -> tuple[Part, Mask, int]:
    """Damage a part in one of the demo's ways or in one of its own; the kind is UNNAMED for the latter."""
    size, contrast = float(np.exp(random.uniform(np.log(0.35), np.log(2)))), random.uniform(0.25, 1)
    try:
        if random.random() > OWN_DEFECTS:
            kind = int(random.integers(len(kinds)))
            return *damage(part, kinds[kind], random, Severity(size=size, contrast=contrast)), kind
        return *_own_damage(part, family, random, size, photos), UNNAMED
    except ValueError:  # no place on a part that is too small for the border a defect keeps
        return *_own_damage(part, family, random, size, photos), UNNAMED


def _own_damage(part: Part, family: Family, random: Random, size: float, photos: Path | None) -> tuple[Part, Mask]:
    """Change a region: shade, foreign material, blur, coarse grain, shifted or swapped structure, faint lines."""
    region = _region(random, size)
    what = random.random()
    weight = (softened(region, random.uniform(0.4, 5)) if random.random() < 0.6 else region).astype(np.float32)[
        ..., None
    ]
    weight = weight / np.float32(255)
    image = part.image
    if what < 0.35:
        factor = random.uniform(0.25, 0.85) if random.random() < 0.65 else random.uniform(1.15, 1.8)
        changed = image * np.float32(factor)
    elif what < 0.5:
        surface = _surface(random, photos)(random) * np.float32(image.mean() * random.uniform(0.7, 1.3))
        changed = np.repeat(surface[..., None], 3, axis=2)
    elif what < 0.6:
        changed = np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(3, 9)), np.float32)
    elif what < 0.7:
        rough = cv2.resize(random.standard_normal((SIDE // 3, SIDE // 3)).astype(np.float32), (SIDE, SIDE))
        changed = image + random.uniform(12, 45) * rough[..., None]
    elif what < 0.85:
        changed = np.roll(image, random.integers(12, SIDE - 12, 2), axis=(0, 1))
    else:
        changed = _draw_part(family, random).image[::-1, ::-1]
    result = image + (np.asarray(changed, np.float32) - image) * weight
    return Part(np.asarray(result, np.float32), part.alpha, part.is_texture), np.minimum(region, part.alpha)


def _region(random: Random, size: float) -> Mask:
    """A random region: a blob, a field with straight sides, a line, a curve, or strewn spots."""
    canvas, what = Canvas(), random.random()
    center = random.uniform(22, UNITS - 22, 2)
    if what < 0.35:
        cells = int(random.uniform(4, 14))
        distance = np.hypot(COLUMNS - center[0], ROWS - center[1]) / np.float32(16 * size)
        return np.where(clouds(random, cells) + 1.2 - distance**2 > 0.6, 255, 0).astype(np.uint8)
    if what < 0.55:
        _shape(canvas, random, random.uniform(5, 22) * size, center, 255)
    elif what < 0.8:
        steps, turn = int(random.integers(2, 10)), random.choice((0.0, 0.1, 0.7))
        angle = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, turn, steps))
        moves = random.uniform(4, 9) * size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        path, width = np.cumsum(np.concatenate([[center], moves]), axis=0), random.uniform(1, 3.5)
        for start, end in pairwise(path):
            canvas.line([start, end], width, 255)
    else:
        for x, y in random.normal(center, 9 * size, (int(random.integers(1, 9)), 2)):
            canvas.circle(x, y, random.uniform(1, 4.5) * max(size, 0.6), 255)
    return np.asarray(canvas.pixels, np.uint8)


def _pose(family: Family, random: Random) -> np.ndarray:
    """Return the [2, 3] matrix from the canvas to the image."""
    turn, (dx, dy) = random.uniform(-1, 1) * family.turn, random.uniform(-1, 1, 2) * family.shift * CAMERA_SIDE / UNITS
    angle, scale = np.deg2rad(turn), CAMERA_SIDE / SIDE
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = np.diag(family.zoom) @ rotation * scale * random.uniform(0.97, 1.03)
    offset = np.array([CAMERA_SIDE / 2 + dx, CAMERA_SIDE / 2 + dy]) - linear @ np.array([SIDE / 2, SIDE / 2])
    return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)


def _photograph(part: Part, family: Family, random: Random) -> np.ndarray:
    """Return the image [side, side, 3] uint8 of a part: on its ground, lit, out of focus, with noise."""
    matrix, size = _pose(family, random), (CAMERA_SIDE, CAMERA_SIDE)
    scene = part.image
    if not part.is_texture:
        scene = painted(np.array(family.ground), part.alpha, np.clip(part.image, 0, 255).astype(np.uint8), 1.0)
    edges = cv2.BORDER_REFLECT if part.is_texture else cv2.BORDER_REPLICATE
    scene = np.asarray(cv2.warpAffine(np.clip(scene, 0, 255), matrix, size, borderMode=edges), np.float32)
    across = np.linspace(-1, 1, CAMERA_SIDE, dtype=np.float32)
    slopes = random.uniform(-1, 1, 3) * family.light
    scene = scene * (1 + slopes[0] + slopes[1] * across[None, :, None] + slopes[2] * across[:, None, None])
    scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), random.uniform(*family.blur)), np.float32)
    side = CAMERA_SIDE // family.noise_grain
    channels = 1 if family.is_gray else int(random.choice((1, 3)))
    small = random.standard_normal((side, side, channels), dtype=np.float32)
    noise = np.reshape(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), (CAMERA_SIDE, CAMERA_SIDE, channels))
    scene = scene + np.float32(random.uniform(*family.noise)) * noise
    scene = scene + family.banding * random.standard_normal((CAMERA_SIDE, 1, 1), dtype=np.float32)
    if family.is_gray:
        scene = np.repeat(scene @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    pixels = np.clip(scene, 0, 255).astype(np.uint8)
    if family.quality < 100:
        _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, family.quality])
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def _is_visible(good: np.ndarray, bad: np.ndarray, mask: Mask, family: Family) -> bool:
    """Whether a defect changes enough of enough pixels to be found beside the sensor's noise."""
    changes = cv2.absdiff(good, bad).max(axis=2)[mask > 100]
    return bool(changes.size >= 25 and changes.mean() > 8 + 0.8 * family.noise[1])
