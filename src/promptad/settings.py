"""Settings: frozen, keyword-only, checked when made, and saved beside every result."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import PureWindowsPath
from typing import Any

from promptad.errors import InputError

MULTI_PROTOTYPE, SINGLE_ANCHOR = "multi-prototype", "single-anchor"
BATCH_SIZE = 32  # images that go through the image encoder together
METHODS = (MULTI_PROTOTYPE, SINGLE_ANCHOR)
LEVELS = ("image", "pixel")
TEST_ORACLE = "test-oracle"  # keeps the epoch with the best result on the test labels
IMAGE_SCORES = ("both", "class-token", "patches")
FUSIONS = ("reaction", "sum")
MEMORY_DISTANCES = ("nearest", "soft", "refined", "subspace")
OLDER_SCORING: dict[str, Any] = {  # before these settings
    "fusion": "sum",
    "far_views": False,
    "position_share": 0.0,
    "memory_distances": ("nearest",),
    "top_share": 0.0,
}
OLDER_WEIGHTS = {"reaction": 0.0}
SET_LATER = ("threshold", "unsure_rate")  # settings of scoring that checkpoints hold only where they are set
SELECTIONS = ("last", "train-loss", TEST_ORACLE)
MEMORY_BACKBONES = {  # short names, and timm's own; to add one, add a line
    "dinov2-small": "vit_small_patch14_dinov2.lvd142m",
    "dinov2-base": "vit_base_patch14_dinov2.lvd142m",
    "dinov2-large": "vit_large_patch14_dinov2.lvd142m",
    "dinov3-small": "vit_small_patch16_dinov3.lvd1689m",
    "dinov3-base": "vit_base_patch16_dinov3.lvd1689m",
    "dinov3-large": "vit_large_patch16_dinov3.lvd1689m",
}
MEMORY_BACKBONE = ("memory_backbone", "memory_pretrained", "memory_size", "memory_backbone_layers")  # where it is set
HUB = "hub"  # of `memory_pretrained`: the weights that timm knows by the backbone's name
OWN_REGION = "own"  # of `region`: each picture has its own
TINY_BACKBONE = "tiny"  # the bundled backbone
HEALTHY_USAGE = 0.4  # relative: a normal prototype's share of the patches is healthy within 1/K ± 0.4/K
HEALTHY_SEPARATION = 0.3  # healthy: a mean cosine of abnormal prototypes to the mean normal one below this
MIN_BIT_DEPTH, MAX_BIT_DEPTH = 8, 16  # of the pixels of 16-bit images
LARGEST_MAP = 4096  # pixels a side; the maps of a test split are in memory together
LARGEST_IMAGE = 4096  # pixels a side that a backbone is given
MOST_OVERLAP = 0.5  # of tiles
LEAST_CROP = 0.1  # of a side: smaller ones show nothing of a part
MOST_PROTOTYPES, MOST_CONTEXT, MOST_VIEWS, MOST_EPOCHS, MOST_SUPPORT = 100, 1000, 256, 1_000_000, 10_000
MOST_TILES = 1024
LEAST_VIEWS = 2  # of each tile


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """The CLIP model and its image size."""

    name: str = "ViT-B-16-plus-240"  # an open_clip architecture, or `tiny`
    pretrained: str = "laion400m_e32"  # open_clip's tag or a weight file; `tiny` has its own
    resize: int | None = None  # pixels an image is resized to; None is the model's own size
    crop: int | None = None  # pixels of the central square that is kept of it; None is all
    memory_layers: tuple[float, ...] = (0.25, 0.67)  # of its blocks, by depth, that a memory bank is made of
    precision: str = "float32"  # of the encoders' matrix products: half precision is faster on most GPUs
    memory_backbone: str = ""  # a second encoder that a memory bank is made of, such as "dinov2-small"; "": the CLIP
    memory_pretrained: str = HUB  # its weights: timm's own of the hub, or a file
    memory_size: int = 448  # pixels a side that it is given
    memory_backbone_layers: tuple[float, ...] = (0.67, 1.0)  # of its depth, where a memory bank reads; 1 is its end

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            if (size := getattr(self, name)) is not None:
                _whole(1, name, size, LARGEST_IMAGE)
        _whole(1, "memory_size", self.memory_size, LARGEST_IMAGE)
        depths = tuple(self.memory_backbone_layers)
        if not depths or not all(0 < share <= 1 for share in depths):
            given = ", ".join(map(str, depths)) or "()"
            raise InputError(
                f"`memory_backbone_layers` {given}: give shares of the depth from above 0 to 1, such as 0.67, 1"
            )
        object.__setattr__(self, "memory_backbone_layers", depths)
        if not self.memory_backbone:
            for setting in fields(self):
                of_memory = setting.name in MEMORY_BACKBONE and setting.name != "memory_pretrained"
                if of_memory and (given := getattr(self, setting.name)) != setting.default:
                    raise InputError(f"`{setting.name}` {given} is of a `memory_backbone`: name one, or leave it out")
        _one_of("precision", self.precision, ("float32", "bfloat16", "float16"))
        if not self.memory_layers or not all(0 <= share < 1 for share in self.memory_layers):
            given = ", ".join(map(str, self.memory_layers)) or "()"
            raise InputError(f"`memory_layers` {given}: give shares of the depth from 0 to below 1, such as 0.25, 0.67")
        object.__setattr__(self, "memory_layers", tuple(self.memory_layers))
        if self.name == TINY_BACKBONE:
            object.__setattr__(self, "pretrained", "embedded")

    def without_folders(self) -> "BackboneSettings":
        r"""Return settings that name a file of weights by its name alone, for any system's paths; a tag stays.

        >>> BackboneSettings(name="ViT-B-32", pretrained=r"C:\Users\anna\clip.pt").without_folders().pretrained
        'clip.pt'
        """
        own, memory = (PureWindowsPath(path).name for path in (self.pretrained, self.memory_pretrained))
        return replace(self, pretrained=own, memory_pretrained=memory)


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """What of a picture is looked at, and in how many pieces."""

    region: str = ""  # the mask of what counts, as text; "own": each picture has its own; "": all counts
    tiles: tuple[int, int] | None = (1, 1)  # rows and columns; None: decided by the support images
    overlap: float = 0.1  # of neighbouring tiles, as a share of their sides

    def __post_init__(self) -> None:
        if self.tiles is not None:
            rows, columns = self.tiles
            object.__setattr__(self, "tiles", (rows, columns))
            if not all(isinstance(count, int) and count >= 1 for count in (rows, columns)):
                raise InputError(f"`tiles` {rows}x{columns}: give rows x columns, both at least 1, or auto")
            if rows * columns > MOST_TILES:
                raise InputError(f"`tiles` {rows}x{columns}: at most {MOST_TILES} tiles")
        if not 0 <= self.overlap <= MOST_OVERLAP:
            raise InputError(f"`overlap` {self.overlap}: must be from 0 to {MOST_OVERLAP}, a share of a tile's side")


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """The number of learned prompts, and their initial context vectors."""

    n_pro: int = 3  # normal prototypes, K
    n_pro_ab: int = 6  # abnormal prototypes, M
    n_ctx: int = 4  # context vectors of a normal prompt
    n_ctx_ab: int = 1  # additional context vectors of an abnormal prompt
    start: str = "words"  # context vectors start from "words" or at "random"
    states: tuple[str, ...] = ()  # user states that replace the built-in ones
    normal_states: bool = False  # whether normal prompts hold a word for it, such as "flawless"

    def __post_init__(self) -> None:
        for name in ("n_pro", "n_pro_ab"):
            _whole(1, name, getattr(self, name), MOST_PROTOTYPES)
        for name in ("n_ctx", "n_ctx_ab"):
            _whole(1, name, getattr(self, name), MOST_CONTEXT)
        if isinstance(self.states, str):
            raise InputError(f"`states` {self.states!r}: give a list of phrases")
        _one_of("start", self.start, ("words", "random"))
        object.__setattr__(self, "states", tuple(self.states))


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """The weight of each training loss; 0 switches it off."""

    contrastive: float = 1.0  # features are nearer to their normal prototype than to all that is abnormal
    margin: float = 1.0  # by how much they are
    matching: float = 0.0  # the mean abnormal prototype is near the mean state
    grouping: float = 0.0  # each abnormal prototype is near the states that it stands for
    balance: float = 0.2  # all normal prototypes are used alike
    repulsion: float = 1.0  # abnormal prototypes differ from each other
    closeness: float = 6.0  # prompts are held near the words that they started from
    reaction: float = 2.5  # disturbed patches score higher than before

    def __post_init__(self) -> None:
        for weight in fields(self):
            _at_least(0, f"weights.{weight.name}", getattr(self, weight.name))


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How the context vectors are trained."""

    k_shot: int = 2  # support images
    epochs: int = 100  # one step each
    lr: float = 0.002  # learning rate of SGD
    momentum: float = 0.9  # of SGD, from 0 to below 1
    weight_decay: float = 0.0005  # of SGD
    seed: int = 111  # of the support images, their views and random starts
    views: int = 8  # label-free views of each support image, including itself
    turn: float = 5.0  # degrees, either way, of the views; 180: parts lie anyhow
    least_crop: float = 1.0  # of each side of the image that a view shows; 1: all of it
    trust: float | None = None  # in the initial words, 0 to 1; None: as the name is recognised, and its words react
    select: str = "last"  # the epoch that is kept: the last one, "train-loss" or "test-oracle"
    weights: LossWeights = field(default_factory=LossWeights)  # of the losses

    def __post_init__(self) -> None:
        _whole(1, "k_shot", self.k_shot, MOST_SUPPORT)
        _whole(0, "epochs", self.epochs, MOST_EPOCHS)
        _whole(0, "seed", self.seed)
        if self.seed >= 2**63:
            raise InputError(f"`seed` {self.seed}: must be below 2 ** 63")
        _whole(2, "views", self.views, MOST_VIEWS)
        for name in ("lr", "momentum", "weight_decay", "turn"):
            _at_least(0, name, getattr(self, name))
        if not LEAST_CROP <= self.least_crop <= 1:
            raise InputError(f"`least_crop` {self.least_crop}: must be from {LEAST_CROP} to 1, the whole image")
        if self.trust is not None and not 0 <= self.trust <= 1:
            raise InputError(
                f"`trust` {self.trust}: must be from 0, prompts leave their words freely, to 1, they are held near them"
            )
        if self.momentum >= 1:
            raise InputError(f"`momentum` {self.momentum}: must be below 1")
        _one_of("select", self.select, SELECTIONS)


@dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """How similarities become scores and maps."""

    resolution: int = 256  # pixels a side of the anomaly map
    sigma: float = 4.0  # pixels, of the Gaussian that smooths it
    calibration: str = "prototype"  # of the margins: "prototype", "position" or "none"
    image_score: str = "both"  # its terms: the class token's, the patches', or "both"
    top_share: float = 0.01  # of the patches, the largest, whose mean is their term; 0: the largest alone
    memory: bool = False  # whether patches are also compared with those of the support images
    fusion: str = "reaction"  # words beside a memory, and its layers, count by their "reaction", or all alike: "sum"
    far_views: bool = True  # whether a memory bank holds views that differ more, too
    memory_distances: tuple[str, ...] = ("nearest", "refined")  # of a patch to a memory bank, of `MEMORY_DISTANCES`
    position_share: float = 0.5  # of how far normal patches are at a position, taken off before the farthest counts
    false_alarm_rate: float = 0.01  # the share of normal images that may be labelled anomalous
    threshold: float | None = None  # of raw image scores, set by hand; None: by the false-alarm rate
    unsure_rate: float | None = None  # the share of normal images that may be left undecided or labelled; None: none

    def __post_init__(self) -> None:
        _whole(2, "resolution", self.resolution)
        if self.resolution > LARGEST_MAP:
            raise InputError(f"`resolution` {self.resolution}: must be at most {LARGEST_MAP}")
        if not 0 < self.sigma < math.inf:
            raise InputError(f"`sigma` {self.sigma}: must be a number above 0")
        if self.sigma > self.resolution:
            raise InputError(f"`sigma` {self.sigma}: must be at most the `resolution`, {self.resolution}")
        if not 0 < self.false_alarm_rate < 1:
            rate = self.false_alarm_rate
            raise InputError(f"`false_alarm_rate` {rate:g}: must be between 0 and 1, such as 0.01, or in per cent, 1%")
        if self.unsure_rate is not None and not self.false_alarm_rate < self.unsure_rate < 1:
            rates = f"{self.unsure_rate:g}: must be above the false-alarm rate, {self.false_alarm_rate:g}, and below 1"
            raise InputError(f"`unsure_rate` {rates}, such as 0.05")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise InputError(f"`threshold` {self.threshold}: must be a number, a raw score")
        _one_of("calibration", self.calibration, ("position", "prototype", "none"))
        _one_of("image_score", self.image_score, IMAGE_SCORES)
        _one_of("fusion", self.fusion, FUSIONS)
        if not self.memory_distances or isinstance(self.memory_distances, str):
            raise InputError(
                f"`memory_distances` {self.memory_distances!r}: give a list of {', '.join(MEMORY_DISTANCES)}"
            )
        for distance in self.memory_distances:
            _one_of("memory_distances", distance, MEMORY_DISTANCES)
        object.__setattr__(self, "memory_distances", tuple(dict.fromkeys(self.memory_distances)))
        for name in ("top_share", "position_share"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise InputError(f"`{name}` {share}: must be from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class SingleAnchorSettings:
    """Settings of the single-anchor baseline only."""

    lambda1: float = 0.001  # weight of the match loss
    eta_min: float = 1e-5  # learning rate at the end of the cosine

    def __post_init__(self) -> None:
        for name in ("lambda1", "eta_min"):
            _at_least(0, name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that determines a detector, besides its images and its class."""

    system: str = MULTI_PROTOTYPE  # the method, or the baseline, "single-anchor"
    level: str = "image"  # training features: "image" for class tokens (and patches), "pixel" for patch tokens only
    backbone: BackboneSettings = field(default_factory=BackboneSettings)  # the CLIP
    picture: PictureSettings = field(default_factory=PictureSettings)  # what of a picture is looked at
    prompts: PromptSettings = field(default_factory=PromptSettings)  # how many, and how they start
    training: TrainingSettings = field(default_factory=TrainingSettings)  # images, epochs, losses
    scoring: ScoringSettings = field(default_factory=ScoringSettings)  # scores, maps, thresholds
    single_anchor: SingleAnchorSettings = field(default_factory=SingleAnchorSettings)  # of the baseline alone
    bit_depth: int | None = None  # bits that the pixels of 16-bit images fill; None: decided by the support images

    def __post_init__(self) -> None:
        _one_of("system", self.system, METHODS)
        _one_of("level", self.level, LEVELS)
        if self.bit_depth is not None:
            _whole(MIN_BIT_DEPTH, "bit_depth", self.bit_depth, MAX_BIT_DEPTH)
        if self.backbone.memory_backbone:
            self._check_memory_backbone()
        if self.tile_count > 1 and self.backbone.crop is not None:
            raise InputError(
                f"`crop` {self.backbone.crop} would cut off the edges of each tile: leave it or `tiles` out"
            )
        if max(self.picture.tiles or (1, 1)) * self.scoring.resolution > LARGEST_MAP:
            rows, columns = self.picture.tiles or (1, 1)
            raise InputError(
                f"`resolution` {self.scoring.resolution} is of each of {rows} x {columns} tiles, too much for one map:"
                f" lower it to {LARGEST_MAP // max(rows, columns)}"
            )
        if self.tile_count > 1 and self.scoring.calibration == "position":
            raise InputError(
                "`calibration` position is of places in a picture, not in its tiles: leave it or `tiles` out"
            )

    def _check_memory_backbone(self) -> None:
        name = f"`memory_backbone` {self.backbone.memory_backbone}"
        if self.system == SINGLE_ANCHOR:
            raise InputError(f"{name}: the memory bank of the single-anchor baseline is CLIP's own; leave it out")
        if not self.scoring.memory:
            raise InputError(f"{name} is what a memory bank is made of: switch that on, by `memory` True")

    @property
    def tile_count(self) -> int:
        """The number of tiles of a picture; 1 as long as they are not decided."""
        return 1 if self.picture.tiles is None else math.prod(self.picture.tiles)

    @property
    def support_views(self) -> int:
        """The number of views of each tile of a support image for training: tiles have fewer than a whole picture.

        The baseline uses the unaugmented image only.
        """
        if self.system == SINGLE_ANCHOR:
            return 1
        views = self.training.views
        return views if self.tile_count == 1 else max(LEAST_VIEWS, math.ceil(views / self.tile_count))

    @property
    def needs_layers(self) -> bool:
        """Whether the image encoder's intermediate layers are needed; the baseline always saves its memory bank."""
        return self.scoring.memory or self.system == SINGLE_ANCHOR

    @property
    def needs_far_views(self) -> bool:
        """Whether far views of the support images are needed: for the memory bank, or beside one image alone."""
        banked = self.scoring.memory and self.scoring.far_views
        return self.system == MULTI_PROTOTYPE and (banked or self.training.k_shot == 1)

    @property
    def needs_disturbed(self) -> bool:
        """Whether disturbed views of the support images are needed, to learn from."""
        return self.system == MULTI_PROTOTYPE and self.training.weights.reaction > 0

    @property
    def needs_probes(self) -> bool:
        """Whether more of them are needed, to measure what each term can tell."""
        return self.system == MULTI_PROTOTYPE and self.scoring.memory and self.scoring.fusion == "reaction"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for a checkpoint or a report; some settings are part of it only if they are set."""
        plain = asdict(self)
        for name in SET_LATER:
            if plain["scoring"][name] is None:
                del plain["scoring"][name]
        if not self.backbone.memory_backbone:
            for name in MEMORY_BACKBONE:
                del plain["backbone"][name]
        if self.picture == PictureSettings():
            del plain["picture"]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Settings":
        """Build settings from `to_dict`'s plain data."""
        training = dict(data["training"])
        return cls(
            system=data["system"],
            level=data["level"],
            backbone=BackboneSettings(**data["backbone"]),
            picture=PictureSettings(**data.get("picture", {})),
            prompts=PromptSettings(**data["prompts"]),
            training=TrainingSettings(**training | {"weights": LossWeights(**OLDER_WEIGHTS | training["weights"])}),
            scoring=ScoringSettings(**OLDER_SCORING | _several_distances(data["scoring"])),
            single_anchor=SingleAnchorSettings(**data["single_anchor"]),
            bit_depth=data.get("bit_depth", MAX_BIT_DEPTH),  # what an older promptad took it for
        )


def default_settings(system: str) -> Settings:
    """Return the defaults of a `system`, "multi-prototype" or "single-anchor", whose are the published ones."""
    if system != SINGLE_ANCHOR:
        return Settings(system=system)
    return Settings(system=system, prompts=PromptSettings(start="random"), scoring=ScoringSettings(memory=True))


def _several_distances(scoring: Mapping[str, Any]) -> dict[str, Any]:
    """Return scoring settings of format 6, which had one memory distance, as of today."""
    found = dict(scoring)
    if (only := found.pop("memory_distance", None)) is not None:
        found["memory_distances"] = (only,)
    return found


def _at_least(bound: float, name: str, value: float) -> None:
    if not bound <= value < math.inf:
        raise InputError(f"`{name}` {value}: must be a number of at least {bound}")


def _whole(bound: int, name: str, value: int, most: int | None = None) -> None:
    if not isinstance(value, int) or value < bound:
        raise InputError(f"`{name}` {value}: must be a whole number of at least {bound}")
    if most is not None and value > most:
        raise InputError(f"`{name}` {value}: must be at most {most}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"`{name}` {value}: choose one of {', '.join(choices)}")
