"""Frozen backbones; the only package that imports open_clip."""
