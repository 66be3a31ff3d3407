"""Eight surfaces that fill the image: five of MVTec AD's, and three that no tiny CLIP was trained on.

Each function draws one part: what all parts of a line share comes from `style`, what differs from `instance`.
"""

import numpy as np

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
    Part,
    Random,
    RGBImage,
    brighter,
    clouds,
    grain,
    hsv,
    shaded,
)


def carpet(style: Random, instance: Random) -> Part:
    """Draw a woven carpet: a weave of two waves under a heavy grain, flecked with yarn of its own shade."""
    color = hsv(style, saturation=(0.0, 0.5), value=(0.3, 0.7))
    pitch, depth = style.uniform(0.7, 1.5), style.uniform(0.1, 0.3)
    flecked, shade = int(style.uniform(20, 70)), style.choice((0.55, 1.5)) * style.uniform(0.9, 1.1)
    phase_x, phase_y = instance.uniform(0, 2 * np.pi, 2)
    canvas = Canvas(color)
    for x, y in instance.uniform(0, UNITS, (flecked, 2)):
        canvas.ellipse(x, y, instance.uniform(1.0, 3.4), instance.uniform(0.6, 1.5), brighter(color, shade))
    weave = np.sin(COLUMNS * pitch + phase_x) * np.sin(ROWS * pitch + phase_y)
    return _texture(canvas.pixels, 1 + depth * weave + 0.13 * grain(instance) + 0.04 * clouds(instance, 6))


def grid(style: Random, instance: Random) -> Part:
    """Draw a wire grid, straight or on its corner, before a dark ground."""
    ground = hsv(style, saturation=(0, 0.15), value=(0.05, 0.25))
    wire = hsv(style, saturation=(0, 0.15), value=(0.5, 0.9))
    spacing, width, on_its_corner = (
        style.uniform(10, 17),
        style.choice((0.9, 3.1), p=(0.57, 0.43)),
        style.random() < 0.5,
    )
    phase_x, phase_y = instance.uniform(0, spacing, 2)
    canvas = Canvas(shaded(ground, 1 + 0.3 * np.maximum(clouds(instance, 5), -1) + 0.08 * grain(instance)))
    for step in np.arange(-UNITS, 2 * UNITS, spacing):
        x, y = step + phase_x, step + phase_y
        if on_its_corner:
            canvas.line([(x - UNITS, 0), (x, UNITS)], width, wire)
            canvas.line([(x, 0), (x - UNITS, UNITS)], width, wire * np.float32(0.85))
        else:
            canvas.line([(x, 0), (x, UNITS)], width, wire)
            canvas.line([(0, y), (UNITS, y)], width, wire * np.float32(0.85))
    return _texture(canvas.pixels, 1 + 0.12 * clouds(instance, 7))


def leather(style: Random, instance: Random) -> Part:
    """Draw leather: dark creases where two layers of smooth noise are both near zero, and a few soft veins."""
    color = hsv(style, hue=(0.0, 0.09), saturation=(0.4, 0.85), value=(0.25, 0.65))
    cells, depth = int(style.uniform(16, 34)), style.uniform(0.06, 0.13)
    height = np.abs(clouds(instance, cells)) + 0.6 * np.abs(clouds(instance, int(cells * 1.7)))
    bend, veins = clouds(instance, 3), np.zeros((SIDE, SIDE), dtype=np.float32)
    for _ in range(instance.integers(2, 5)):
        angle, place, width = instance.uniform(0, np.pi), instance.normal(0, 40), instance.uniform(1.5, 4)
        across = (COLUMNS - CENTER) * np.cos(angle) + (ROWS - CENTER) * np.sin(angle) + 9 * bend - place
        veins += (
            instance.uniform(-0.35, 0.3) * np.exp(-((across / width) ** 2)) * np.clip(clouds(instance, 3) + 0.5, 0, 1)
        )
    creases = depth * (0.5 * height - 2 * np.exp(-5 * height))
    return _texture(color, np.asarray(1 + creases + veins + 0.02 * grain(instance), np.float32))


def tile(style: Random, instance: Random) -> Part:
    """Draw a pale tile with flakes of a darker stone, small ones and fainter large ones."""
    color = hsv(style, saturation=(0, 0.12), value=(0.6, 0.9))
    flake = hsv(style, saturation=(0, 0.4), value=(0.2, 0.5))
    cells, threshold = int(style.uniform(22, 44)), style.uniform(0.9, 1.4)
    small = np.clip((clouds(instance, cells) - threshold) * 3, 0, 1)
    large = np.clip((clouds(instance, cells // 2) - threshold - 0.3) * 3, 0, 1)
    share = np.minimum(small + 0.7 * large, 1)[..., None]
    return _texture(color + (flake - color) * share, 1 + 0.02 * grain(instance))


def wood(style: Random, instance: Random) -> Part:
    """Draw wood: rings that smooth noise and up to three knots bend, and fine fibres along the rows."""
    color = hsv(style, hue=(0.05, 0.11), saturation=(0.3, 0.7), value=(0.45, 0.85))
    pitch, depth, bend = style.uniform(0.15, 0.45), style.uniform(0.07, 0.18), style.uniform(1.5, 4)
    heart = style.uniform(0.25, 0.5)
    warp, knots = bend * clouds(instance, (4, 5)), np.zeros((SIDE, SIDE), dtype=np.float32)
    for x, y in instance.uniform(8, UNITS - 8, (instance.integers(0, 4), 2)):
        reach = instance.uniform(2, 5)
        distance = np.hypot((COLUMNS - x) / reach, (ROWS - y) / (1.6 * reach))
        warp = warp + 5 * np.sign(COLUMNS - x) * np.exp(-distance / 2)
        knots = np.maximum(knots, np.exp(-(distance**2)) * (1 + 0.25 * np.sin(6 * distance)))
    rings = np.sin(COLUMNS * pitch + warp + instance.uniform(0, 2 * np.pi))
    fibers = clouds(instance, (5, UNITS))
    brightness = (1 + depth * rings + 0.05 * fibers + 0.015 * grain(instance)) * (1 - heart * knots)
    return _texture(color, np.asarray(brightness, np.float32))


def brick(style: Random, instance: Random) -> Part:
    """Draw a brick wall; every brick has its own brightness."""
    color = hsv(style, hue=(0.0, 0.06), saturation=(0.4, 0.8), value=(0.4, 0.7))
    mortar = hsv(style, saturation=(0, 0.1), value=(0.6, 0.8))
    height = style.uniform(14, 22)
    width = 2.1 * height
    left, top = instance.uniform(0, height, 2)
    canvas = Canvas(mortar)
    for row in range(-1, 12):
        for column in range(-2, 8):
            x, y = left + (column + row % 2 / 2) * width, top + row * height
            brick_color = color * np.float32(instance.uniform(0.88, 1.12))
            canvas.box(x + 1.5, y + 1.5, x + width - 1.5, y + height - 1.5, brick_color)
    return _texture(canvas.pixels, 1 + 0.05 * grain(instance))


def circuit_board(style: Random, instance: Random) -> Part:
    """Draw a circuit board: the same tracks, pads and chips on every one."""
    board = hsv(style, hue=(0.25, 0.65), saturation=(0.4, 0.9), value=(0.2, 0.5))
    copper, solder = brighter(board, 1.45), hsv(style, saturation=(0, 0.15), value=(0.65, 0.9))
    canvas, pitch = Canvas(board), 9.0
    for _ in range(26):
        x, y = style.integers(0, 16, 2) * pitch
        places = [(x, y)]
        for turn in range(int(style.integers(2, 4))):
            reach = style.integers(1, 6) * pitch * style.choice((-1, 1))
            x, y = (x + reach, y) if turn % 2 else (x, y + reach)
            places.append((x, y))
        canvas.line(places, 1.6, copper)
        for place in (places[0], places[-1]):
            canvas.circle(*place, 2.6, solder)
            canvas.circle(*place, 1.1, brighter(board, 0.3))
    for _ in range(int(style.integers(2, 5))):
        left, top, width, height = *(style.integers(1, 11, 2) * pitch), *(style.integers(2, 5, 2) * pitch)
        for x in np.arange(left + pitch / 2, left + width, pitch / 2):
            canvas.box(x - 1.1, top - 3, x + 1.1, top + height + 3, solder)
        canvas.box(left, top, left + width, top + height, brighter(board, 0.25))
    return _texture(canvas.pixels, 1 + 0.03 * clouds(instance, 4) + 0.03 * grain(instance))


def cork(style: Random, instance: Random) -> Part:
    """Draw pressed cork: grains of many browns, and a few dark pores."""
    color = hsv(style, hue=(0.06, 0.1), saturation=(0.35, 0.6), value=(0.5, 0.8))
    cells, depth = int(style.uniform(14, 30)), style.uniform(0.08, 0.16)
    grains = np.sign(clouds(instance, cells)) * np.abs(clouds(instance, cells)) ** 0.5
    pores = np.clip((clouds(instance, int(1.6 * cells)) - 1.7) * 3, 0, 0.6)
    return _texture(color, np.asarray((1 + depth * grains + 0.05 * grain(instance)) * (1 - pores), np.float32))


def _texture(color: Color | RGBImage | FloatImage, brightness: Field) -> Part:
    return Part(shaded(color, brightness), np.full((SIDE, SIDE), 255, dtype=np.uint8), is_texture=True)
