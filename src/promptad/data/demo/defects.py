"""Fourteen kinds of defect, each a function that damages a part and marks where.

`burn` is held out: no tiny CLIP was trained on it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from promptad.data.demo.canvas import (
    COLUMNS,
    ROWS,
    SCALE,
    SIDE,
    Canvas,
    Color,
    Field,
    Mask,
    Part,
    Point,
    Random,
    gray,
    grown,
    hsv,
    painted,
    shaded,
    shrunk,
    softened,
    where,
)


@dataclass(frozen=True)
class Severity:
    """How bad defects are: factors on their usual size and on their usual contrast, and what can be seen of them."""

    size: float = 1.0
    contrast: float = 1.0
    least_contrast: float = 10  # gray levels that a defect changes on its mask, about three times the sensor's noise
    least_area: int = 20  # pixels of its mask


@dataclass(frozen=True)
class Site:
    """Where a defect sits and how bad it is; `brightness` is the part's, to stand out from."""

    x: float  # units
    y: float  # units
    size: float  # times the usual
    contrast: float  # times the usual, at most 1
    brightness: float  # 0 to 255


Damage = tuple[Part, Mask]  # the damaged part, and 255 where it is damaged


def damage(part: Part, kind: str, random: Random, severity: Severity) -> Damage:
    """Damage a part at a random place; the mask leaves out what fell beside the part."""
    x, y = _place(part.alpha, random, on_the_edge=kind == "broken edge" and not part.is_texture)
    site = Site(x, y, random.uniform(0.75, 1.5) * severity.size, severity.contrast, part.brightness())
    damaged, mask = DEFECTS[kind](part, site, random)
    return damaged, np.minimum(mask, np.maximum(part.alpha, damaged.alpha))


def hole(part: Part, site: Site, random: Random) -> Damage:
    """Pierce the part: a dark blob, or a pale one in a dark part, with a raised rim."""
    inside = _blob(site, 7, random)
    rim = grown(inside, 1)
    color = _standing_out(site, gray(random.uniform(0, 35)), gray(170))
    image = painted(part.image, rim, gray(1.3 * site.brightness), 0.5 * site.contrast)
    return replace(part, image=painted(image, inside, color, site.contrast)), rim


def cut(part: Part, site: Site, random: Random) -> Damage:
    """Slit the part: a thin dark lens between pale lips."""
    angle, half_length = random.uniform(0, 2 * np.pi), 17 * site.size
    along = np.array([np.cos(angle), np.sin(angle)])
    across, center = np.array([-along[1], along[0]]) * site.size, np.array([site.x, site.y])
    slit = Canvas()
    ends = center - half_length * along, center + half_length * along
    slit.polygon([ends[0], center + 2.2 * across, ends[1], center - 1.5 * across], 255)
    lips = grown(slit.pixels, 1)
    image = painted(part.image, lips, gray(1.5 * site.brightness + 30), 0.55 * site.contrast)
    return replace(
        part, image=painted(image, slit.pixels, _standing_out(site, gray(10), gray(200)), site.contrast)
    ), lips


def scratch(part: Part, site: Site, random: Random) -> Damage:
    """Scratch the part: a few fine lines side by side, pale in a dark part and dark in a pale one."""
    angle = random.uniform(0, 2 * np.pi)
    step = random.uniform(60, 120) if site.brightness < 150 else -random.uniform(60, 110)
    lines = Canvas()
    for _ in range(random.integers(2, 6)):
        center = random.normal((site.x, site.y), 6)
        half_length, direction = random.uniform(8, 20) * site.size, random.normal(angle, 0.15)
        reach = half_length * np.array([np.cos(direction), np.sin(direction)])
        lines.line([center - reach, center + reach], 1.3, 255)
    color = gray(site.brightness + step)
    return replace(part, image=painted(part.image, lines.pixels, color, 0.85 * site.contrast)), lines.pixels


def crack(part: Part, site: Site, random: Random) -> Damage:
    """Crack the part: a jagged dark line with two finer branches."""
    lines = Canvas()
    trunk = _walk((site.x, site.y), 9, 5 * site.size, 0.7, random)
    lines.line(trunk, 3.4, 255)
    for branch in random.integers(1, 8, 2):
        lines.line(_walk(trunk[branch], 4, 4 * site.size, 0.6, random), 1.3, 255)
    color = _standing_out(site, gray(12), gray(190))
    return replace(part, image=painted(part.image, lines.pixels, color, 0.95 * site.contrast)), lines.pixels


def color_stain(part: Part, site: Site, random: Random) -> Damage:
    """Stain the part with a translucent colour."""
    stain = _blob(site, 12, random)
    color = hsv(random, saturation=(0.6, 1), value=(0.3, 1))
    image = painted(part.image, softened(stain, 1.4), color, random.uniform(0.45, 0.8) * site.contrast)
    return replace(part, image=image), stain


def contamination(part: Part, site: Site, random: Random) -> Damage:
    """Strew specks of one foreign material over the part."""
    color = hsv(random, saturation=(0, 0.6))
    choices = (color, 255 - color, gray(240 if site.brightness < 128 else 15))
    color = next(choice for choice in choices if abs(choice.mean() - site.brightness) > 60)
    specks, colors = Canvas(), Canvas(color)
    for _ in range(random.integers(5, 14)):
        (x, y), radius = random.normal((site.x, site.y), 8 * site.size), random.uniform(0.8, 3.4)
        specks.circle(x, y, radius, 255)
        colors.circle(x, y, radius + 1, color * np.float32(random.uniform(0.8, 1)))
    return replace(part, image=painted(part.image, specks.pixels, colors.pixels, 0.95 * site.contrast)), specks.pixels


def thread(part: Part, site: Site, random: Random) -> Damage:
    """Lay a loose coloured thread and its shadow on the part."""
    line = Canvas()
    line.line(_walk((site.x, site.y), 16, 4 * site.size, 0.35, random), 3.4, 255)
    shadow = np.roll(line.pixels, 2 * SCALE, axis=0)
    if site.brightness < 150:
        color = hsv(random, saturation=(0.2, 1), value=(0.7, 1))
    else:
        color = hsv(random, saturation=(0.5, 1), value=(0.1, 0.7))
    image = painted(part.image, shadow, gray(0), 0.3 * site.contrast)
    return replace(part, image=painted(image, line.pixels, color, site.contrast)), line.pixels


def glue(part: Part, site: Site, random: Random) -> Damage:
    """Leave a translucent strip of glue that shines along its upper left."""
    line = Canvas()
    line.line(_walk((site.x, site.y), 6, 5 * site.size, 0.4, random), 9.5 * site.size, 255)
    strip = softened(line.pixels, 1.1)
    color = hsv(random, hue=(0.1, 0.16), saturation=(0, 0.35), value=(0.85, 1))
    image = painted(part.image, strip, color, random.uniform(0.45, 0.7) * site.contrast)
    shine = cv2.subtract(strip, np.roll(strip, (-2 * SCALE, -2 * SCALE), axis=(0, 1)))
    return replace(part, image=painted(image, np.asarray(shine, np.uint8), gray(255), 0.8 * site.contrast)), strip


def bent(part: Part, site: Site, random: Random) -> Damage:
    """Bend the part: push it aside around a place, bright on one side of it and dark on the other."""
    reach, angle = random.uniform(12, 17) * site.size, random.uniform(0, 2 * np.pi)
    push = random.uniform(9, 14) * site.size * site.contrast
    bump, slope = _bump(site, reach, angle)
    columns = (COLUMNS - np.float32(push * np.cos(angle)) * bump) * SCALE
    rows = (ROWS - np.float32(push * np.sin(angle)) * bump) * SCALE
    image = cv2.remap(part.image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    alpha = cv2.remap(part.alpha, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    bent_part = replace(
        part,
        image=shaded(np.asarray(image, np.float32), 1 + 0.25 * site.contrast * slope),
        alpha=np.asarray(alpha, np.uint8),
    )
    return bent_part, where(bump > 0.45)


def missing_part(part: Part, site: Site, random: Random) -> Damage:
    """Take a rough square out of the part; in a texture, sink it into the dark."""
    half_width, half_height = random.uniform(7, 14, 2) * site.size
    top_right, bottom_left = random.uniform(0.6, 1, 2)
    left, right, top, bottom = site.x - half_width, site.x + half_width, site.y - half_height, site.y + half_height
    gap = Canvas()
    corners = [
        (left, top),
        (right, site.y - half_height * top_right),
        (right, bottom),
        (site.x - half_width * bottom_left, bottom),
    ]
    gap.polygon(corners, 255)
    if not part.is_texture:
        return replace(part, alpha=np.minimum(part.alpha, 255 - gap.pixels)), gap.pixels
    color = np.asarray(cv2.mean(part.image)[:3], np.float32) * np.float32(random.uniform(0.45, 0.75))
    return replace(part, image=painted(part.image, gap.pixels, color, site.contrast)), gap.pixels


def misprint(part: Part, site: Site, random: Random) -> Damage:
    """Print three letters where none belong."""
    letters = "".join(random.choice(list("ABCDEXOPQ#%&*"), 3))
    writing = Canvas()
    writing.text(letters, site.x - 16, site.y + 6, 0.5 * site.size, 2, 255)
    color = gray(235) if site.brightness < 140 else hsv(random, saturation=(0.3, 1), value=(0.1, 0.4))
    return replace(part, image=painted(part.image, writing.pixels, color, 0.9 * site.contrast)), writing.pixels


def broken_edge(part: Part, site: Site, random: Random) -> Damage:
    """Break a piece off the outline and leave a pale rim; a texture, which has none, misses a part instead."""
    if part.is_texture:
        return missing_part(part, site, random)
    piece = where(_blob(site, 13, random) > 100)
    alpha = np.minimum(part.alpha, 255 - piece)
    rim = np.minimum(grown(piece, 2), alpha)
    image = painted(part.image, rim, gray(1.5 * site.brightness + 20), 0.6 * site.contrast)
    return replace(part, image=image, alpha=alpha), np.maximum(piece, rim)


def poke(part: Part, site: Site, random: Random) -> Damage:
    """Dent the part: a dark hollow, lit from one side."""
    hollow, slope = _bump(site, 6 * site.size, random.uniform(0, 2 * np.pi))
    image = shaded(part.image, 1 + 0.75 * site.contrast * slope) - 25 * site.contrast * hollow[..., None]
    return replace(part, image=np.asarray(image, np.float32)), where(hollow > 0.3)


def burn(part: Part, site: Site, random: Random) -> Damage:
    """Scorch the part: a black heart in a brown rim that fades out; in a dark part the rim glows."""
    scorch = _blob(site, 12, random)
    soft = softened(scorch, 1.7)
    rim_color = np.array([45, 25, 10] if site.brightness > 60 else [200, 120, 60], np.float32)
    image = painted(part.image, soft, rim_color, 0.8 * site.contrast)
    return replace(part, image=painted(image, shrunk(soft, 4), gray(8), 0.9 * site.contrast)), scorch


DEFECTS: dict[str, Callable[[Part, Site, Random], Damage]] = {
    "hole": hole,
    "cut": cut,
    "scratch": scratch,
    "crack": crack,
    "color stain": color_stain,
    "contamination": contamination,
    "thread": thread,
    "glue": glue,
    "bent": bent,
    "missing part": missing_part,
    "print": misprint,
    "broken edge": broken_edge,
    "poke": poke,
    "burn": burn,
}


def _place(alpha: Mask, random: Random, *, on_the_edge: bool) -> tuple[float, float]:
    """Pick a random place on the part, or on its edge, away from the border of the canvas; in units."""
    if on_the_edge:
        allowed, border = grown(alpha, 1) - shrunk(alpha, 1), 12
    else:
        allowed, border = shrunk(alpha, 4), 20
    inner = slice(border * SCALE, SIDE - border * SCALE)
    rows, columns = np.nonzero(allowed[inner, inner] > 127)
    chosen = random.integers(len(rows))
    return columns[chosen] / SCALE + border, rows[chosen] / SCALE + border


def _standing_out(site: Site, dark: Color, pale: Color) -> Color:
    """Choose the dark colour, unless the part is nearly black."""
    return dark if site.brightness > 45 else pale


def _blob(site: Site, radius: float, random: Random) -> Mask:
    """Fill a rough round shape of about a radius in units, with soft edges."""
    angle = np.arange(10) * 2 * np.pi / 10
    distance = radius * site.size * random.uniform(0.6, 1.25, 10)
    columns, rows = distance * np.cos(angle) * random.uniform(0.7, 1.2), distance * np.sin(angle)
    shape = Canvas()
    shape.polygon(np.stack([site.x + columns, site.y + rows], axis=1), 255)
    return softened(shape.pixels, 1.1)


def _walk(start: Point, steps: int, length: float, turn: float, random: Random) -> npt.NDArray[np.float64]:
    """Walk from a place in steps of a length in units, turning a little each time; [step + 1, 2]."""
    angle = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, turn, steps))
    moves = length * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.cumsum(np.concatenate([[np.asarray(start)], moves]), axis=0)


def _bump(site: Site, reach: float, angle: float) -> tuple[Field, Field]:
    """Give a round bump of height 1 at the site, and its slope along a direction."""
    dx, dy = COLUMNS - np.float32(site.x), ROWS - np.float32(site.y)
    bump = np.exp(-(dx**2 + dy**2) / np.float32(2 * reach**2))
    slope = bump * (dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle))) / np.float32(reach)
    return np.asarray(bump, np.float32), np.asarray(slope, np.float32)
