"""The rule that fills networks and inputs with known numbers, shared by the golden scripts.

Keys are sorted in byte order and numbered n = 0, 1, ...; element i of the flattened tensor is
0.05 sin(0.37 i + 1.3 n), plus 1 for one-dimensional tensors whose key ends in `weight`.
Computed in f64, stored f32. The Rust tests repeat it in `tests/common/mod.rs`.
"""

import numpy as np
import torch


def fill(state):
    """A state dict of the same keys and shapes, filled by the rule."""
    filled = {}
    for n, key in enumerate(sorted(state, key=lambda k: k.encode())):
        shape = state[key].shape
        values = 0.05 * np.sin(0.37 * np.arange(state[key].numel()) + 1.3 * n)
        if len(shape) == 1 and key.endswith("weight"):
            values += 1.0
        filled[key] = torch.from_numpy(values.astype(np.float32)).reshape(shape)
    return filled


def scatter(state):
    """A state dict of the same keys and shapes with the spread of a fresh network.

    Smooth numbers make all pixels alike, and attention's gradients vanish in rounding; these do
    not. With keys numbered as in `fill`, element i is u = 2 frac(43758.5453 sin(0.7 i + 1.3 n)) - 1
    times sqrt(3 / fan_in) for weights of two and more dimensions, times 0.1 for the others, plus 1
    for norm scales.
    """
    filled = {}
    for n, key in enumerate(sorted(state, key=lambda k: k.encode())):
        shape = state[key].shape
        u = 43758.5453 * np.sin(0.7 * np.arange(state[key].numel()) + 1.3 * n)
        values = 2 * (u - np.floor(u)) - 1
        values *= np.sqrt(3 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        if len(shape) == 1 and key.endswith("weight"):
            values += 1.0
        filled[key] = torch.from_numpy(values.astype(np.float32)).reshape(shape)
    return filled


def wave(shape, step=0.11, start=0.0):
    """Element i of the flattened tensor is sin(step i + start)."""
    values = np.sin(step * np.arange(int(np.prod(shape))) + start)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)
