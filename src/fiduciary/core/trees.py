"""States are (nested) named tuples of [B, ...] tensors; these few functions treat any of them alike."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def leaves(tree: Any) -> list[Tensor]:
    """All tensors of `tree`, left to right."""
    return [tree] if isinstance(tree, Tensor) else [leaf for part in tree for leaf in leaves(part)]


def rebuild(like: Any, tensors: list[Tensor]) -> Any:
    """A tree shaped as `like`, holding `tensors` in the order of `leaves`."""
    return _take(like, iter(tensors))


def pick(tree: Any, b: int) -> Any:
    """Element `b` of every tensor, as a batch of one."""
    return rebuild(tree, [leaf[b : b + 1] for leaf in leaves(tree)])


def where(mask: Tensor, a: Any, b: Any) -> Any:
    """Elements of `a` where `mask` [B], of `b` elsewhere; leaves are [B, ...]."""
    pairs = zip(leaves(a), leaves(b), strict=True)
    return rebuild(a, [torch.where(mask.reshape(-1, *[1] * (x.dim() - 1)), x, y) for x, y in pairs])


def equal(a: Any, b: Any) -> bool:
    """Whether both trees hold the same tensors, bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def _take(like: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(like, Tensor):
        return next(tensors)
    parts = [_take(part, tensors) for part in like]
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)
