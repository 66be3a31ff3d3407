"""Check the single-anchor baseline against a golden case: `python tools/check_golden.py CASE.json`.

A case is a small CLIP with deterministic weights and all that the original PromptAD computes with it: settings in
CASE.json, arrays in CASE.npz beside it. Every array is computed here by the code that users run; the largest absolute
error of each is printed. The exit code is 0 if none exceeds 1e-5, 1 if one does, 2 if the case cannot be read.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import make_backbone
from promptad.errors import InputError
from promptad.models.anomaly_map import smooth_maps
from promptad.models.memory_bank import MemoryBank
from promptad.models.single_anchor.prompts import AnchorPrompts, PromptTokens
from promptad.models.single_anchor.scoring import memory_maps, score_features, text_score
from promptad.models.single_anchor.trainer import Trainer, run_epochs
from promptad.settings import (
    SINGLE_ANCHOR,
    BackboneSettings,
    PromptSettings,
    ScoringSettings,
    Settings,
    SingleAnchorSettings,
    TrainingSettings,
)

TOLERANCE = 1e-5
LEVELS = {"cls": "image", "seg": "pixel"}
INPUTS = (
    *("train_pixels", "test_pixels", "normal_ctx_init", "abnormal_ctx_init"),
    *("tokens_normal", "tokens_manual", "tokens_learned"),
)

Arrays = dict[str, np.ndarray]


def main(arguments: list[str]) -> int:
    """Check one case; return the exit code."""
    if len(arguments) != 1:
        print("check_golden: give one case: python tools/check_golden.py CASE.json", file=sys.stderr)
        return 2
    try:
        case, arrays = read_case(Path(arguments[0]))
        computed = compute(case, arrays)
        return report(computed, arrays)
    except InputError as error:
        print(f"check_golden: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def read_case(file: Path) -> tuple[dict[str, Any], Arrays]:
    """Read a case's settings and arrays.

    Raises:
        InputError: a file is missing or damaged, or lacks an input.
    """
    try:
        case = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as a case ({error}): give its JSON file") from error
    if not isinstance(case, dict):
        raise InputError(f"{file} holds no settings: give a case's JSON file")
    try:
        with np.load(file.with_suffix(".npz")) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a foreign file may raise anything
        raise InputError(f"{file.with_suffix('.npz')} cannot be read ({error}): it belongs beside {file}") from error
    if missing := [name for name in INPUTS if name not in arrays]:
        raise InputError(f"{file.with_suffix('.npz')} lacks the inputs {', '.join(missing)}")
    return case, arrays


def compute(case: dict[str, Any], arrays: Arrays) -> dict[str, Tensor]:
    """Compute all that the original PromptAD computes in a case.

    Raises:
        InputError: its settings or arrays do not fit together.
    """
    try:
        backbone, settings = golden_backbone(case), golden_settings(case)
        given = {name: torch.from_numpy(arrays[name]) for name in INPUTS}
        return compute_arrays(backbone, settings, given)
    except KeyError as error:
        raise InputError(f"the case lacks the setting {error}") from error
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the case's settings and arrays do not fit together: {error}") from error


def compute_arrays(backbone: Backbone, settings: Settings, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute every array of a case from its inputs."""
    temperature, resolution = backbone.log_temperature, settings.scoring.resolution
    support = backbone.image_encoder.encode(given["train_pixels"].float(), layers=True)
    test = backbone.image_encoder.encode(given["test_pixels"].float(), layers=True)
    assert test.layers
    computed = {
        "test_cls": test.class_token,
        "test_patch": test.patch_tokens,
        "test_mid1": test.layers[0],
        "test_mid2": test.layers[1],
    }
    tokens = PromptTokens(*(given[f"tokens_{kind}"].long() for kind in ("normal", "manual", "learned")))
    starts = (given[f"{kind}_ctx_init"].float().clone() for kind in ("normal", "abnormal"))
    prompts = AnchorPrompts(backbone.text_encoder, tokens, *starts)
    trainer = Trainer(prompts, support, temperature, settings)
    computed |= first_step(trainer)
    trainer.update()  # again, since the graph of the first losses has been freed
    rows = [torch.stack(list(vars(trainer.losses).values())).detach() for _ in run_epochs(trainer)][:-1]
    anchors, bank = trainer.anchors, MemoryBank.from_support(support)
    test = bank.add_distances(test)
    assert test.distances is not None
    scores = score_features(test, anchors, temperature, resolution)
    return computed | {
        "losses": torch.stack(rows) if rows else torch.zeros(0, 4),
        "final_normal_ctx": prompts.normal_context.detach(),
        "final_abnormal_ctx": prompts.abnormal_context.detach(),
        "text_features": anchors,
        "gallery1": bank.layers[0],
        "gallery2": bank.layers[1],
        "cls_text_score": text_score(test.class_token, anchors, temperature),
        "cls_visual_map": memory_maps(test.distances, resolution),
        "fused_image_score": scores.image,
        "seg_map": smooth_maps(scores.patches, settings.scoring),
    }


def first_step(trainer: Trainer) -> dict[str, Tensor]:
    """Compute the text features at the start, and the first gradients."""
    prompts = trainer.prompts
    text = prompts()
    trainer.losses.total.backward()  # type: ignore[no-untyped-call]
    gradients = [context.grad for context in (prompts.normal_context, prompts.abnormal_context)]
    assert gradients[0] is not None
    assert gradients[1] is not None
    prompts.zero_grad()
    return {
        "init_normal_text": text.normal.detach(),
        "init_manual_text": text.manual.detach(),
        "init_learned_text": text.learned.detach(),
        "grad_normal_ctx": gradients[0],
        "grad_abnormal_ctx": gradients[1],
    }


def report(computed: dict[str, Tensor], arrays: Arrays) -> int:
    """Print the largest absolute error of each array; return 0 if all are within the tolerance, else 1."""
    failed = False
    for name, value in computed.items():
        if name not in arrays:
            print(f"{name:20} absent, skipped")
            continue
        found, expected = value.double().numpy(), arrays[name].astype(np.float64)
        if found.shape != expected.shape:
            print(f"{name:20} shape {found.shape} where {expected.shape} is expected  FAILED")
            failed = True
            continue
        error = float(np.abs(found - expected).max(initial=0))
        good = error <= TOLERANCE  # False for NaN
        failed |= not good
        print(f"{name:20} {error:.1e}{'' if good else '  FAILED'}")
    for name in sorted(arrays.keys() - computed.keys() - set(INPUTS)):
        print(f"{name:20} unknown, not checked")
    print(f"tolerance {TOLERANCE:.0e}: {'FAILED' if failed else 'all within it'}")
    return int(failed)


def golden_backbone(case: dict[str, Any]) -> Backbone:
    """Build the case's CLIP with its deterministic weights."""
    clip = CLIP(**case["model_cfg"])
    state = {
        name: torch.from_numpy(golden_tensor(name, tuple(value.shape), case["seed"]))
        if value.is_floating_point()
        else value
        for name, value in clip.state_dict().items()
    }
    clip.load_state_dict(state)
    return make_backbone(clip, BackboneSettings(name="golden", pretrained="golden"), torch.device("cpu"))


def golden_settings(case: dict[str, Any]) -> Settings:
    """Return the case's settings as ours."""
    if case["task"] not in LEVELS:
        raise InputError(f"task {case['task']!r}: choose one of {', '.join(LEVELS)}")
    counts = {name: case[name] for name in ("n_pro", "n_pro_ab", "n_ctx", "n_ctx_ab")}
    rates = {name: case[name] for name in ("epochs", "lr", "momentum", "weight_decay")}
    return Settings(
        system=SINGLE_ANCHOR,
        level=LEVELS[case["task"]],
        prompts=PromptSettings(**counts, start="random"),
        training=TrainingSettings(**rates),
        scoring=ScoringSettings(resolution=case["resolution"], memory=True),
        single_anchor=SingleAnchorSettings(lambda1=case["lambda1"], eta_min=case["eta_min"]),
    )


def golden_tensor(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return the weight of this name and shape: noise that depends on them and the seed alone, scaled by its kind."""
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    noise: np.ndarray = generator.standard_normal(shape).astype(np.float32)
    if name == "logit_scale":
        return np.full(shape, np.log(100.0), dtype=np.float32)
    if "ln_" in name and name.endswith("weight"):
        return 1 + 0.1 * noise
    if name.endswith("bias") or name == "token_embedding.weight":
        return 0.02 * noise
    if len(shape) < 2 or name.endswith(("positional_embedding", "class_embedding")):
        return 0.1 * noise
    scaled: np.ndarray = noise / np.sqrt(np.prod(shape[1:]))
    return scaled


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
