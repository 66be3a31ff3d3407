"""The baseline: the single-anchor PromptAD (Li et al., CVPR 2024), computed as its authors compute it."""
