"""Narrow architectures of the families that open_clip builds of timm's trunks: random weights, own tokenizers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import open_clip
import pytest
import torch
from open_clip.factory import create_model
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

WIDTH, CONTEXT = 32, 64
GIVEN_BY_TIMM = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def _trunk(name: str, kind: Callable[..., nn.Module], **own: Any) -> None:
    """Register a trunk of 48-pixel images, nine patches and three blocks under a name of timm's kind."""

    def make(**given: Any) -> nn.Module:
        given = {key: value for key, value in given.items() if key not in GIVEN_BY_TIMM}
        sizes = {"img_size": 48, "patch_size": 16, "embed_dim": WIDTH, "depth": 3, "num_heads": 2}
        return kind(**sizes | own | given)

    make.__name__, make.__module__ = name, __name__
    register_model(make)


EVA_LAYERS = {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True}
PE_LAYERS: dict[str, Any] = {
    "attn_type": "rope",
    "use_pre_transformer_norm": True,
    "use_rot_pos_emb": True,
    "ref_feat_shape": (3, 3),
    "rope_grid_offset": 1.0,
    "rope_grid_indexing": "xy",
    "attn_pool_num_heads": 4,
    "attn_pool_mlp_ratio": 4.0,
    "norm_layer": partial(nn.LayerNorm, eps=1e-5),
}
_trunk("vit_narrow_patch16_siglip_48", VisionTransformer, class_token=False)
_trunk("vit_narrow_pe_core_patch16_48", Eva, **PE_LAYERS)
_trunk("vit_narrow_pe_core_patch16_classless_48", Eva, **PE_LAYERS, class_token=False)
_trunk("eva02_narrow_patch16_clip_48", Eva, **EVA_LAYERS, use_rot_pos_emb=True, ref_feat_shape=(4, 4))
_trunk("eva02_narrow_patch16_post_norm_48", Eva, use_post_norm=True)
_trunk("eva_narrow_patch16_48", Eva, init_values=0.5)
_trunk("vit_narrow_patch16_clip_48", VisionTransformer, pre_norm=True, init_values=0.5)


def _config(trunk: str, pool: str, proj: str | None, **text: Any) -> dict[str, Any]:
    """Return a configuration as open_clip writes them."""
    vision = {"image_size": 48, "timm_model_name": trunk, "timm_pool": pool, "timm_proj": proj}
    usual = {"context_length": CONTEXT, "vocab_size": 49408, "width": WIDTH, "heads": 2, "layers": 2}
    # SigLIP's dimensions are its width; the others have a projection.
    dimensions = WIDTH if proj == "none" else 20
    return {"embed_dim": dimensions, "custom_text": True, "vision_cfg": vision, "text_cfg": usual | text}


SIGLIP_TEXT: dict[str, Any] = {
    "vocab_size": 600,
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
SIGLIP2_TEXT = SIGLIP_TEXT | {"act_kwargs": {"approximate": "tanh"}}
BIAS = {"init_logit_bias": -10}
CONFIGS: dict[str, dict[str, Any]] = {
    "narrow-SigLIP": _config("vit_narrow_patch16_siglip_48", "map", "none", **SIGLIP_TEXT, hf_tokenizer_name="a/b")
    | BIAS,
    "narrow-SigLIP2": _config("vit_narrow_patch16_siglip_48", "map", "none", **SIGLIP2_TEXT, hf_tokenizer_name="a/c")
    | BIAS,
    "narrow-PE-Core": _config("vit_narrow_pe_core_patch16_48", "map", None),
    "narrow-PE-Core-T": _config("vit_narrow_pe_core_patch16_classless_48", "map", None),
    "narrow-EVA02": _config("eva02_narrow_patch16_clip_48", "token", None),
    "narrow-EVA02-E": _config("eva02_narrow_patch16_post_norm_48", "token", None),
    "narrow-EVA01": _config("eva_narrow_patch16_48", "token", None),
    "narrow-MobileCLIP2-L": _config("vit_narrow_patch16_clip_48", "token", None, no_causal_mask=True),
}
SIGLIPS = ("narrow-SigLIP", "narrow-SigLIP2")
META = "narrow-MetaCLIP2"  # open_clip's own ViT and causal text encoder, with a tokenizer of its own
META_TEXT = {"hf_tokenizer_name": "a/d", "pool_type": "eos", "eos_id": 1, "tokenizer_kwargs": {"clean": "canonicalize"}}
META_SIZES = {"context_length": CONTEXT, "vocab_size": 600, "width": WIDTH, "heads": 2, "layers": 2}
CONFIG_OF_META: dict[str, Any] = {
    "embed_dim": 20,
    "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": META_SIZES | META_TEXT,
}


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let open_clip know the narrow architectures."""
    for name, config in (CONFIGS | {META: CONFIG_OF_META}).items():
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)


def random_model(name: str, seed: int = 0) -> CustomTextCLIP:
    """Return an architecture of open_clip's with weights so large that every part has an effect."""
    torch.manual_seed(seed)
    model = create_model(name)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim:
                weight.add_(torch.randn_like(weight) * 0.15)
    return cast(CustomTextCLIP, model.eval())


def save_as_hub(model: nn.Module, name: str, folder: Path, tokenizer: bool = True) -> Path:
    """Write a model as open_clip pushes it to the hub, with its tokenizer if it has one of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    config = (CONFIGS | {META: CONFIG_OF_META})[name]
    pixels = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]} if "EVA" not in name else {}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": pixels})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    if tokenizer and "hf_tokenizer_name" in config["text_cfg"]:
        save_tokenizer(folder, gemma="SigLIP2" in name)
    return folder


def save_tokenizer(folder: Path, gemma: bool) -> None:
    """Train and write a tokenizer of the class of SigLIP 2's (Gemma), or of SigLIP's (T5)."""
    pytest.importorskip("transformers", minversion="5", reason="transformers is not installed")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import GemmaTokenizer, T5Tokenizer  # noqa: PLC0415

    texts = [
        *("a photo of a carpet with hole", "a cropped photo of the hazelnut", "a close-up photo of the metal nut"),
        *("a bright photo of the damaged pill", "flawless perfect broken crack scratch contamination colour stain"),
        *(chr(ord("a") + number) for number in range(26)),
    ]
    if gemma:
        special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
        raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        raw.normalizer = normalizers.Replace(" ", "▁")
        raw.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # so that no piece holds two words
        raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False))
        model = json.loads(raw.to_str())["model"]
        merges: Any = [tuple(pair) for pair in model["merges"]]
        around: dict[str, Any] = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
        GemmaTokenizer(vocab=model["vocab"], merges=merges, **around).save_pretrained(folder)
        return
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    learned: dict[str, Any] = {
        "vocab_size": 200,
        "special_tokens": special,
        "unk_token": "<unk>",
        "show_progress": False,
    }
    raw.train_from_iterator(texts, trainers.UnigramTrainer(**learned))
    vocabulary = [tuple(piece) for piece in json.loads(raw.to_str())["model"]["vocab"]]
    T5Tokenizer(vocab=vocabulary, extra_ids=0, pad_token="</s>").save_pretrained(folder)
