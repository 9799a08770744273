"""Features: every image of a dataset through frozen encoders once, kept for the study and the ranking alike."""

from typing import Literal

Pooling = Literal["cls", "mean", "cls+mean"]
"""Tokens of the last layer, after its norm, that make a feature vector."""

Precision = Literal["fp32", "bf16"]
"""Number format of the encoders' forward pass."""
