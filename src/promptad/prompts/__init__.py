"""Prompts: states, templates, learned context vectors, and zero-shot classification."""
