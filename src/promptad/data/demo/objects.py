"""Thirteen objects: ten of MVTec AD's, and gear, bearing and biscuit, which no tiny CLIP was trained on.

Each function draws one part: what all parts of a line share comes from `style`, what differs from `instance`.
"""

import numpy as np

from promptad.data.demo.canvas import (
    CENTER,
    COLUMNS,
    ROWS,
    UNITS,
    Canvas,
    Color,
    Field,
    Part,
    Random,
    around,
    brighter,
    clouds,
    grain,
    hsv,
    shaded,
)


def bottle(style: Random, instance: Random) -> Part:
    """Draw a bottle from above: rings of glass, and two glints on the shoulder."""
    dark = hsv(style, saturation=(0.1, 0.7), value=(0.08, 0.35))
    bright = hsv(style, saturation=(0.1, 0.6), value=(0.35, 0.85))
    radius, rim, mouth = style.uniform(50, 60), style.uniform(0.68, 0.85), style.uniform(0.4, 0.6)
    surface, outline = Canvas(dark), Canvas()
    outline.circle(CENTER, CENTER, radius, 255)
    rings = ((rim, bright, 1.0), (rim - 0.08, dark, 0.6), (mouth, bright, 0.8), (mouth - 0.1, dark, 0.4))
    for share, color, factor in rings:
        surface.circle(CENTER, CENTER, radius * share, brighter(color, factor))
    start = np.deg2rad(style.uniform(0, 360) + instance.uniform(-40, 40))
    for glint in (start, start + np.pi):
        surface.arc(0.92 * radius, 3.1, brighter(bright, 1.3), glint, np.deg2rad(instance.uniform(25, 75)))
    return _object(surface, outline)


def cable(style: Random, instance: Random) -> Part:
    """Draw a cable's cross-section: three insulated wires of seven copper strands each."""
    sheath = hsv(style, saturation=(0, 0.3), value=(0.5, 0.9))
    copper = hsv(style, hue=(0.05, 0.1), saturation=(0.4, 0.7), value=(0.6, 0.9))
    hue = style.random()
    radius, turn = style.uniform(52, 62), style.uniform(0, 2 * np.pi) + instance.uniform(-0.1, 0.1)
    surface, outline = Canvas(sheath), Canvas()
    outline.circle(CENTER, CENTER, radius, 255)
    surface.circle(CENTER, CENTER, 0.9 * radius, brighter(sheath, 0.8))
    for wire in range(3):
        hues = (hue + wire / 3, hue + wire / 3 + 0.1)
        insulation = hsv(style, hue=hues, saturation=(0.5, 0.9), value=(0.4, 0.8))
        x, y = around(turn + wire * 2 * np.pi / 3, 0.44 * radius)
        surface.circle(x, y, 0.38 * radius, insulation)
        surface.circle(x, y, 0.28 * radius, brighter(copper, 0.45))
        for strand in range(7):
            angle = strand * np.pi / 3 + instance.uniform(0, 0.3)
            distance = 0.17 * radius if strand < 6 else 0.0
            place = x + distance * np.cos(angle), y + distance * np.sin(angle)
            surface.circle(*place, 0.085 * radius, brighter(copper, instance.uniform(0.65, 1.2)))
    return _object(surface, outline)


def capsule(style: Random, _instance: Random) -> Part:
    """Draw a capsule of two colours with a number on the darker half; parts of a line do not differ."""
    dark = hsv(style, saturation=(0.0, 0.5), value=(0.05, 0.4))
    vivid = hsv(style, saturation=(0.5, 1), value=(0.6, 1))
    half_length, half_height = style.uniform(42, 50), style.uniform(17, 23)
    seam = CENTER + style.uniform(-8, 8)
    left, right = CENTER - half_length + half_height / 2, CENTER + half_length - half_height / 2
    surface, outline = Canvas(dark), Canvas()
    for x in (left, right):
        outline.circle(x, CENTER, half_height, 255)
    outline.box(left, CENTER - half_height, right, CENTER + half_height, 255)
    surface.box(seam, 0, UNITS, UNITS, vivid)
    surface.line([(seam, 0), (seam, UNITS)], 3.1, brighter(vivid, 0.6))
    number = str(int(style.uniform(100, 999)))
    surface.text(number, CENTER - half_length + 8, CENTER + 5, 0.42, 1, 255 - dark * np.float32(0.3))
    image = shaded(surface.pixels, 1.1 - 0.45 * ((ROWS - CENTER) / half_height) ** 2)
    glint = (np.abs(ROWS - CENTER + half_height / 2 - 1) < 1) & (np.abs(COLUMNS - CENTER) < 0.8 * half_length)
    image[glint] += 70
    return Part(image, outline.pixels)


def hazelnut(style: Random, instance: Random) -> Part:
    """Draw a hazelnut: a striped shell, round in the light, with its pale patch below."""
    color = hsv(style, hue=(0.04, 0.08), saturation=(0.5, 0.8), value=(0.4, 0.7))
    half_height = style.uniform(44, 54)
    half_width, pitch = half_height * style.uniform(0.82, 0.98), style.uniform(0.3, 0.6)
    surface, outline = Canvas(color), Canvas()
    outline.ellipse(CENTER, CENTER, half_width, half_height, 255)
    patch = CENTER + 0.75 * half_height, 0.62 * half_width, 0.38 * half_height
    surface.ellipse(CENTER, *patch, brighter(color, 1.45))
    roundness = 1.15 - 0.5 * _falling_off(half_width, half_height)
    stripes = np.sin((COLUMNS - CENTER) * pitch + clouds(instance, 4)) + clouds(instance, 18)
    freckles = np.clip(clouds(instance, 26) - 1.3, 0, 0.6)
    return Part(shaded(surface.pixels, roundness + 0.06 * stripes - 0.45 * freckles), outline.pixels)


def metal_nut(style: Random, instance: Random) -> Part:
    """Draw a metal nut: a turned disc with a hole and four notches."""
    color = hsv(style, hue=(0.05, 0.65), saturation=(0, 0.2), value=(0.5, 0.8))
    radius, turning = style.uniform(50, 58), style.uniform(0, 0.04)
    surface, outline = Canvas(color), Canvas()
    outline.circle(CENTER, CENTER, radius, 255)
    for notch in range(4):
        _tooth(outline, 0.4 + notch * np.pi / 2, (0.78 * radius, 0.16 * radius), (1.3 * radius, 0.34 * radius), 0)
    outline.circle(CENTER, CENTER, 0.33 * radius, 0)
    surface.arc(0.62 * radius, 3.1, brighter(color, 0.75))
    surface.arc(0.45 * radius, 5, brighter(color, 1.15))
    grooves = np.sin(1.2 * np.hypot(COLUMNS - CENTER, ROWS - CENTER))
    return Part(shaded(surface.pixels, 1 + 0.05 * clouds(instance, 30) + turning * grooves), outline.pixels)


def pill(style: Random, instance: Random) -> Part:
    """Draw a speckled oval pill with two letters."""
    color = hsv(style, saturation=(0, 0.12), value=(0.75, 0.98))
    pigment = hsv(style, saturation=(0.5, 0.9), value=(0.5, 0.9))
    half_width = style.uniform(50, 58)
    half_height = half_width * style.uniform(0.55, 0.72)
    surface, outline = Canvas(color), Canvas()
    outline.ellipse(CENTER, CENTER, half_width, half_height, 255)
    reach = np.array([half_width, half_height])
    for x, y in instance.uniform(CENTER - reach, CENTER + reach, (40, 2)):
        surface.circle(x, y, instance.uniform(0.7, 2.4), color * np.float32(0.4) + pigment * np.float32(0.6))
    letters = "".join(style.choice(list("FHKRXZ"), 2))
    surface.text(letters, CENTER - 18, CENTER + 9, 0.85, 2, brighter(color, 0.72))
    return Part(shaded(surface.pixels, 1.05 - 0.22 * _falling_off(half_width, half_height)), outline.pixels)


def screw(style: Random, _instance: Random) -> Part:
    """Draw a countersunk screw, its head to the left; parts of a line do not differ."""
    color = hsv(style, hue=(0.05, 0.65), saturation=(0, 0.25), value=(0.45, 0.8))
    half_length, half_width, pitch = style.uniform(46, 56), style.uniform(6, 9), style.uniform(5, 8)
    surface, outline = Canvas(brighter(color, 0.9)), Canvas()
    head, tip = CENTER - half_length, CENTER + half_length
    upper = [(head, 1.9), (head + 7, 1.9), (head + 16, 1), (tip - 16, 1), (tip, 0)]  # column, share of half_width
    outline.polygon([(x, CENTER + sign * share * half_width) for sign in (-1, 1) for x, share in upper[::-sign]], 255)
    top, bottom = CENTER - half_width, CENTER + half_width
    for x in np.arange(CENTER - 0.2 * half_length, tip - 4, pitch):
        outline.polygon([(x, top), (x + 0.4 * pitch, top - 3), (x + 0.7 * pitch, top)], 255)
        outline.polygon([(x - 0.3 * pitch, bottom), (x + 0.1 * pitch, bottom + 3), (x + 0.4 * pitch, bottom)], 255)
        surface.line([(x - 1, bottom + 3), (x + 2, top - 3)], 3.1, brighter(color, 0.45))
        surface.line([(x + 1.5, bottom + 3), (x + 4.5, top - 3)], 0.9, brighter(color, 1.3))
    roundness = 1.15 - 0.4 * ((ROWS - CENTER) / (1.5 * half_width)) ** 2
    return Part(shaded(surface.pixels, np.clip(roundness, 0.4, 2)), outline.pixels)


def toothbrush(style: Random, instance: Random) -> Part:
    """Draw a toothbrush's head from above: tufts of two colours on an oval."""
    color = hsv(style, saturation=(0.0, 0.5), value=(0.6, 0.95))
    hue = style.random()
    first = hsv(style, hue=(hue, hue + 0.1), saturation=(0.4, 0.9), value=(0.5, 0.95))
    second = hsv(style, hue=(hue + 0.4, hue + 0.6), saturation=(0.0, 0.8), value=(0.7, 1))
    half_height, half_width = style.uniform(54, 62), style.uniform(26, 33)
    surface, outline = Canvas(brighter(color, 0.8)), Canvas()
    outline.ellipse(CENTER, CENTER, half_width, half_height, 255)
    for row in range(10):
        for column in range(5):
            dx = half_width * (0.36 * (column - 2) + (0.1 if row % 2 else -0.1))
            dy = half_height * 0.18 * (row - 4.5)
            if (dx / half_width) ** 2 + (dy / half_height) ** 2 >= 0.8:
                continue
            tuft = (first, second)[(row + column) % 2]
            x, y = CENTER + dx + instance.uniform(-1.3, 1.3), CENTER + dy + instance.uniform(-1.3, 1.3)
            surface.circle(x, y, instance.uniform(3.7, 4.7), brighter(tuft, instance.uniform(0.7, 1.1)))
            surface.circle(CENTER + dx, CENTER + dy, 1.5, brighter(tuft, 0.6))
    return _object(surface, outline)


def transistor(style: Random, _instance: Random) -> Part:
    """Draw a transistor: a dark case with a label, and three leads in their soldered holes."""
    case = hsv(style, saturation=(0, 0.2), value=(0.1, 0.25))
    metal = hsv(style, hue=(0.05, 0.6), saturation=(0, 0.15), value=(0.65, 0.95))
    half_width, height, top = style.uniform(28, 36), style.uniform(26, 34), style.uniform(22, 30)
    spacing, foot, bottom = style.uniform(14, 18), 128.0, top + height
    surface, outline = Canvas(case), Canvas()
    for x in (CENTER - spacing, CENTER, CENTER + spacing):
        outline.box(x - 3, bottom, x + 3, foot, 255)
        outline.circle(x, foot, 7, 255)
        surface.box(x - 5, bottom, x + 5, UNITS, metal)
        surface.circle(x, foot, 7, brighter(metal, 0.8))
        surface.circle(x, foot, 3, brighter(metal, 0.3))
    outline.box(CENTER - half_width, top, CENTER + half_width, bottom, 255)
    left, right = CENTER - half_width + 3, CENTER + half_width - 3
    frame = [(left, top + 3), (right, top + 3), (right, bottom - 3), (left, bottom - 3), (left, top + 3)]
    surface.box(CENTER - half_width, top, CENTER + half_width, bottom, case)
    surface.line(frame, 0.9, brighter(case, 1.5) + np.float32(12))
    label = f"T{int(style.uniform(10, 99))}"
    surface.text(label, CENTER - 14, top + 0.6 * height, 0.45, 1, case + np.float32(60))
    return _object(surface, outline)


def zipper(style: Random, instance: Random) -> Part:
    """Draw a closed zipper: a band of cloth, two seams, and teeth from either side in turn."""
    cloth = hsv(style, saturation=(0, 0.6), value=(0.1, 0.5))
    metal = hsv(style, hue=(0.05, 0.65), saturation=(0, 0.5), value=(0.5, 0.95))
    half_width, pitch = style.uniform(40, 52), style.uniform(6, 9)
    weave = np.sin(1.3 * COLUMNS + 0.8 * ROWS)
    surface, outline = Canvas(shaded(cloth, 1 + 0.12 * weave + 0.05 * grain(instance))), Canvas()
    outline.box(CENTER - half_width, -1, CENTER + half_width, UNITS + 1, 255)
    for number, y in enumerate(np.arange(instance.uniform(-pitch, 0), UNITS + 5, pitch)):
        x = CENTER + (-3 if number % 2 else 3)
        color = brighter(metal, instance.uniform(0.9, 1.05))
        surface.box(x - 10, y - 0.3 * pitch, x + 10, y + 0.3 * pitch, color)
    for x in (CENTER - 0.55 * half_width, CENTER + 0.55 * half_width):
        surface.line([(x, 0), (x, UNITS)], 0.9, brighter(cloth, 0.5))
    return _object(surface, outline)


def gear(style: Random, instance: Random) -> Part:
    """Draw a toothed gear with a bored hub and five round holes."""
    color = hsv(style, saturation=(0.1, 0.6), value=(0.4, 0.8))
    radius, teeth = style.uniform(42, 50), int(style.uniform(10, 16))
    surface, outline = Canvas(color), Canvas()
    outline.circle(CENTER, CENTER, radius, 255)
    for angle in np.arange(teeth) * 2 * np.pi / teeth:
        _tooth(outline, angle, (0.9 * radius, 6), (1.2 * radius, 4), 255)
    for angle in np.arange(5) * 2 * np.pi / 5:
        x, y = around(angle, 0.6 * radius)
        outline.circle(x, y, 0.17 * radius, 0)
    surface.circle(CENTER, CENTER, 0.3 * radius, brighter(color, 0.6))
    outline.circle(CENTER, CENTER, 0.15 * radius, 0)
    return Part(shaded(surface.pixels, 1 + 0.03 * grain(instance)), outline.pixels)


def bearing(style: Random, instance: Random) -> Part:
    """Draw a ball bearing: two turned rings, and balls between them that come to rest anywhere."""
    color = hsv(style, hue=(0.05, 0.65), saturation=(0, 0.15), value=(0.55, 0.85))
    radius, balls = style.uniform(50, 58), int(style.uniform(7, 12))
    ball_radius, start = 0.13 * radius, instance.uniform(0, 2 * np.pi)
    surface, outline = Canvas(color), Canvas()
    outline.circle(CENTER, CENTER, radius, 255)
    outline.circle(CENTER, CENTER, 0.3 * radius, 0)
    surface.circle(CENTER, CENTER, 0.82 * radius, brighter(color, 0.35))
    surface.circle(CENTER, CENTER, 0.52 * radius, color)
    for angle in start + np.arange(balls) * 2 * np.pi / balls:
        x, y = around(angle, 0.67 * radius)
        surface.circle(x, y, ball_radius, brighter(color, 0.8))
        surface.circle(x - 0.3 * ball_radius, y - 0.3 * ball_radius, 0.4 * ball_radius, brighter(color, 1.4))
    for share, factor in ((0.97, 0.7), (0.86, 1.2), (0.34, 0.7)):
        surface.arc(share * radius, 1.2, brighter(color, factor))
    grooves = np.sin(2.2 * np.hypot(COLUMNS - CENTER, ROWS - CENTER))
    return Part(shaded(surface.pixels, 1 + 0.03 * grooves + 0.02 * grain(instance)), outline.pixels)


def biscuit(style: Random, instance: Random) -> Part:
    """Draw a round biscuit with a wavy rim, browned unevenly, with rows of small holes."""
    color = hsv(style, hue=(0.07, 0.11), saturation=(0.4, 0.65), value=(0.65, 0.9))
    radius, waves, rows = style.uniform(50, 58), int(style.uniform(14, 26)), int(style.uniform(3, 6))
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    surface, outline = Canvas(color), Canvas()
    outline.polygon(around(angle, radius * (1 + 0.04 * np.cos(waves * angle))), 255)
    step = 1.1 * radius / rows
    for row in range(rows):
        for column in range(rows):
            x, y = CENTER + (column - (rows - 1) / 2) * step, CENTER + (row - (rows - 1) / 2) * step
            if np.hypot(x - CENTER, y - CENTER) < 0.75 * radius:
                surface.circle(x, y, 2.2, brighter(color, 0.5))
    browned = 1.08 - 0.3 * _falling_off(radius, radius) ** 2 + 0.07 * clouds(instance, 5) + 0.05 * grain(instance)
    return Part(shaded(surface.pixels, np.asarray(browned, np.float32)), outline.pixels)


def _tooth(
    canvas: Canvas, angle: float, inner: tuple[float, float], outer: tuple[float, float], color: Color | int
) -> None:
    """Fill a trapezium that points away from the centre, given the distance and half width of its two ends."""
    across = np.array([-np.sin(angle), np.cos(angle)])
    ends = [(around(angle, distance), half * across) for distance, half in (inner, outer)]
    (near, near_half), (far, far_half) = ends
    canvas.polygon([near - near_half, far - far_half, far + far_half, near + near_half], color)


def _falling_off(half_width: float, half_height: float) -> Field:
    """Grow with the square of the distance from the centre to 1 on an ellipse, as the tilt of a round surface does."""
    distance = np.hypot((COLUMNS - CENTER) / half_width, (ROWS - CENTER) / half_height)
    return np.asarray(distance**2, dtype=np.float32)


def _object(surface: Canvas, outline: Canvas) -> Part:
    return Part(surface.pixels.astype(np.float32), outline.pixels)
