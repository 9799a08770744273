"""The one place where timm is imported: late, and also where torchvision's compiled operators are missing."""

from __future__ import annotations

import sys
from types import ModuleType

_REGISTERED = ("nms", "qnms")
"""Operators for which torchvision registers a shape function at import, whether or not they were loaded."""


def import_timm() -> ModuleType:
    """Import timm and return the module.

    timm imports torchvision for its transforms. When torchvision was built for another torch (a CUDA build beside a
    CPU one, say), its operators do not load and its import fails, although none of them is needed here. Declaring the
    schemas of the operators that it registers functions for is enough.
    """
    if "timm" not in sys.modules and not _torchvision_imports():
        import torch
        from torch import library

        for name in _REGISTERED:
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm

    module: ModuleType = timm
    return module


def _torchvision_imports() -> bool:
    try:
        import torchvision  # noqa: F401
    except RuntimeError:  # "operator torchvision::nms does not exist"
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        return False
    return True
