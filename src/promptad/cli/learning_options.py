"""The options of learning: where pictures come from, the method, its training, backbone and scoring, the machine."""

from dataclasses import asdict, replace
from pathlib import Path

from promptad.cli.machine_options import MACHINE
from promptad.cli.option import Option
from promptad.cli.values import names, numbers, phrases, rate, shares, tiles, truth
from promptad.data.datasets import DATASETS
from promptad.settings import MEMORY_BACKBONES, MULTI_PROTOTYPE, SINGLE_ANCHOR, TINY_BACKBONE, Settings

DATA = (
    Option(
        "--dataset", str, f"where pictures come from: {', '.join(DATASETS)}", default="mvtec", choices=tuple(DATASETS)
    ),
    Option("--class-name", str, "the part: a folder of the data set, and what it is called in the prompts"),
    Option("--data-root", Path, "folder above the data sets (default: $PROMPTAD_DATA, else data)"),
    Option("--root-dir", Path, "folder that results go to", default=Path("result")),
    Option(
        "--support-list",
        Path,
        "file that names the support images: a path a line, or the original PromptAD's '#k: id id'",
    ),
)
METHOD = (
    Option(
        "--k-shot",
        int,
        "support images: 1 to 4 are usual; more of them cover more of what is normal",
        "training.k_shot",
    ),
    Option("--n_pro", int, "normal prototypes; several cover a part that looks good in several ways", "prompts.n_pro"),
    Option("--n_pro_ab", int, "abnormal prototypes; several cover several ways to be bad", "prompts.n_pro_ab"),
    Option("--states", phrases, "your own part's defects, such as 'with hole, with scratch'", "prompts.states"),
    Option(
        "--system",
        str,
        f"'{MULTI_PROTOTYPE}', or the baseline '{SINGLE_ANCHOR}'",
        "system",
        choices=(MULTI_PROTOTYPE, SINGLE_ANCHOR),
    ),
    Option(
        "--level",
        str,
        "what is learned from: 'image' for class and patch tokens, 'pixel' for patch tokens alone",
        "level",
        choices=("image", "pixel"),
    ),
    Option("--n_ctx", int, "learned vectors in a normal context", "prompts.n_ctx"),
    Option("--n_ctx_ab", int, "learned vectors in an abnormal context", "prompts.n_ctx_ab"),
    Option(
        "--start",
        str,
        f"contexts start from real 'words' or at 'random' (default: words; {SINGLE_ANCHOR}: random)",
        "prompts.start",
        choices=("words", "random"),
    ),
    Option(
        "--normal-states",
        truth,
        "put a word such as 'flawless' before the part's name in normal prompts",
        "prompts.normal_states",
        system=MULTI_PROTOTYPE,
    ),
)
TRAINING = (
    Option("--epochs", int, "epochs, of one step each", "training.epochs", aliases=("--Epoch",)),
    Option("--seed", int, "of the choice of support images, their views and random starts", "training.seed"),
    Option("--seeds", numbers, "several seeds, such as 0-4 or 111,112: prints mean and deviation"),
    Option(
        "--select",
        str,
        "the epoch that is kept: the 'last', that of the least 'train-loss', or 'test-oracle', which looks at the test"
        " labels as the original PromptAD does",
        "training.select",
        choices=("last", "train-loss", "test-oracle"),
    ),
    Option("--lr", float, "learning rate; lower it if the loss rises", "training.lr"),
    Option("--momentum", float, "decay of the optimiser's mean gradient", "training.momentum"),
    Option("--weight-decay", float, "decay of the contexts", "training.weight_decay"),
    Option("--views", int, "label-free views of each support image", "training.views", system=MULTI_PROTOTYPE),
    Option(
        "--turn",
        float,
        "degrees that views are turned by, at most, either way; 180 where parts lie anyhow",
        "training.turn",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--least-crop",
        float,
        "the least share of each side that a view shows; 1: all of it",
        "training.least_crop",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--trust",
        float,
        "in the starting words, 0 to 1: the larger it is, the nearer prompts stay to them (default: as far as CLIP"
        " recognises the part by its name, and its words react to disturbed views)",
        "training.trust",
        system=MULTI_PROTOTYPE,
    ),
    Option("--lambda1", float, "weight of the match loss", "single_anchor.lambda1", system=SINGLE_ANCHOR),
    Option("--eta-min", float, "learning rate at the end", "single_anchor.eta_min", system=SINGLE_ANCHOR),
    *(
        Option(
            f"--weight-{name}",
            float,
            f"weight of the {name} loss; 0 switches it off",
            f"training.weights.{name}",
            system=MULTI_PROTOTYPE,
        )
        for name in asdict(Settings())["training"]["weights"]
    ),
)
BACKBONE = (
    Option(
        "--backbone",
        str,
        "a CLIP of open_clip, or 'tiny', which is bundled and the demo's own; promptad backbones lists all",
        "backbone.name",
        choices=(TINY_BACKBONE, "ViT-B-16-plus-240", "ViT-L-14"),
    ),
    Option(
        "--pretrained-dataset",
        str,
        "open_clip's tag of the weights, a weight file, or a folder as the hub has it",
        "backbone.pretrained",
    ),
    Option(
        "--precision",
        str,
        "of the backbone's matrix products: float32, or bfloat16 or float16, faster where the processor has them",
        "backbone.precision",
        choices=("float32", "bfloat16", "float16"),
    ),
    Option(
        "--img-resize", int, "pixels a side that pictures are resized to (default: the backbone's)", "backbone.resize"
    ),
    Option(
        "--bit-depth",
        int,
        "bits that a camera's 16-bit pictures fill, such as 12 (default: what the support images need)",
        "bit_depth",
    ),
    Option("--img-cropsize", int, "pixels a side of the central square that is kept (default: all)", "backbone.crop"),
)
PICTURE = (
    Option(
        "--tiles",
        tiles,
        "rows x columns, such as 2x3, that large or long pictures are cut into, each looked at by itself; 'auto': as"
        " suits their shape and size (default: 1x1)",
        "picture.tiles",
    ),
    Option("--overlap", float, "of neighbouring tiles, a share of their sides", "picture.overlap"),
)
REGION = Option(
    "--region",
    str,
    "what counts of a picture: left,top,right,bottom in pixels, or a mask, white where it counts (several add up); or a"
    " folder of masks, one for each picture, of its name",
    several=True,
)
IGNORE = replace(REGION, flag="--ignore", help="what does not count: boxes or masks as for the region")
MEMORY_WEIGHTS = Option(
    "--memory-pretrained",
    str,
    "the memory backbone's weights: 'hub', which downloads them once, or a file as the hub saves them",
    "backbone.memory_pretrained",
    system=MULTI_PROTOTYPE,
)
SCORING = (
    Option(
        "--memory-bank",
        truth,
        f"compare patches with those of the support images too (default: False; {SINGLE_ANCHOR}: True)",
        "scoring.memory",
    ),
    Option(
        "--memory-backbone",
        str,
        "a second encoder, of pictures alone, that a memory bank is made of: such as dinov2-small, or timm:NAME of any"
        " plain ViT of timm (default: none, the backbone's own layers)",
        "backbone.memory_backbone",
        choices=tuple(MEMORY_BACKBONES),
    ),
    MEMORY_WEIGHTS,
    Option(
        "--memory-size",
        int,
        "pixels a side that the memory backbone is given, a multiple of its patch size",
        "backbone.memory_size",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--memory-backbone-layers",
        shares,
        "shares of the memory backbone's depth where its features are taken, by commas; 1 is its end",
        "backbone.memory_backbone_layers",
        system=MULTI_PROTOTYPE,
    ),
    Option("--resolution", int, "pixels a side of the anomaly map", "scoring.resolution"),
    Option("--sigma", float, "pixels; the Gaussian that smooths the map", "scoring.sigma"),
    Option(
        "--calibration",
        str,
        "of scores: by 'position' in the picture, by 'prototype', or 'none'",
        "scoring.calibration",
        system=MULTI_PROTOTYPE,
        choices=("position", "prototype", "none"),
    ),
    Option(
        "--image-score",
        str,
        "what an image score is made of: 'class-token', 'patches' or 'both'",
        "scoring.image_score",
        system=MULTI_PROTOTYPE,
        choices=("class-token", "patches", "both"),
    ),
    Option(
        "--top-share",
        float,
        "0 to 1: the share of patches, the largest ones, whose mean is their part of an image score; 0: the largest"
        " alone",
        "scoring.top_share",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--fusion",
        str,
        "what words and layers count for in and beside a memory bank: by their 'reaction' to disturbed views, or all"
        " as much: 'sum'",
        "scoring.fusion",
        system=MULTI_PROTOTYPE,
        choices=("reaction", "sum"),
    ),
    Option(
        "--far-views",
        truth,
        "keep zoomed and relit views of the support images in the memory bank, too",
        "scoring.far_views",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--memory-layers",
        shares,
        "depths of the backbone's blocks that a memory bank without a backbone of its own is made of, as shares of all,"
        " by commas",
        "backbone.memory_layers",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--memory-distance",
        names,
        "of a patch to a memory bank, one or several, by commas: to its 'nearest' row, to the nearest of rows 'refined'"
        " by the picture itself, 'soft' to a mean of the 5 nearest, to the 'subspace' of all rows",
        "scoring.memory_distances",
        system=MULTI_PROTOTYPE,
    ),
    Option(
        "--position-share",
        float,
        "0 to 1: how much a memory bank's score allows for places where normal parts differ",
        "scoring.position_share",
        system=MULTI_PROTOTYPE,
    ),
)
FALSE_ALARM_RATE = Option(
    "--false-alarm-rate",
    rate,
    "share of good pictures that the decision may reject, such as 0.01, or in per cent with their sign",
    "scoring.false_alarm_rate",
    system=MULTI_PROTOTYPE,
)
SECOND_RATE = "a second, larger rate: what only it would reject is 'unsure', and left to you to decide"
UNSURE = Option(
    "--unsure",
    rate,
    f"{SECOND_RATE} (default: none)",
    "scoring.unsure_rate",
    system=MULTI_PROTOTYPE,
)
WEIGHTS = BACKBONE[1]
OUTPUT = (
    Option("--save-diagnostics", truth, "write the prototypes' diagnostics, as JSON and drawn", default=True),
    Option("--vis", truth, "draw every test picture with its map, mask and contours", default=False),
)
OWN = (
    Option("--good", str, "your own pictures of good parts: a folder, or files, by commas or repeated", several=True),
    Option("--name", str, "what your own part is called in the prompts, such as 'metal bracket'"),
)
LEARNING_GROUPS = {
    "a class of a data set": DATA,
    "the method": METHOD,
    "the decision": (FALSE_ALARM_RATE, UNSURE),
    "what counts of a picture": (REGION, IGNORE, *PICTURE),
    "training": TRAINING,
    "output": OUTPUT,
    "machine": MACHINE,
    "backbone and pictures": BACKBONE,
    "scores and maps": SCORING,
}  # most used first
LEARNING = tuple(option for group in LEARNING_GROUPS.values() for option in group)
