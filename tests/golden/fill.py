"""The rule that fills networks and inputs with known numbers, shared by the golden scripts.

Keys are sorted in byte order and numbered n = 0, 1, ...; element i of the flattened tensor is
0.05 sin(0.37 i + 1.3 n), plus 1 for one-dimensional tensors whose key ends in `weight`.
Computed in f64, stored f32. The Rust tests repeat it in `tests/common/fill.rs`.
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


def rectified(state):
    """`scatter` for networks of convolutions with ReLU.

    Weights of two and more dimensions are sqrt(2) times as large, so that activations keep their size;
    the heads' of LPIPS (`lin..`) are positive, running variances are greater by 1. Counters are left out,
    from the numbering too.
    """
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    filled = scatter(state)
    for key, values in filled.items():
        if values.dim() > 1:
            values *= 2**0.5
        if key.startswith("lin"):
            values.abs_()
        if key.endswith("running_var"):
            values += 1.0
    return filled


def faint(state):
    """`scatter`, all but norm scales a thousandth of it."""
    is_scale = lambda key, values: values.dim() == 1 and key.endswith("weight")
    filled = scatter(state)
    return {key: values if is_scale(key, values) else 1e-3 * values for key, values in filled.items()}


def wave(shape, step=0.11, start=0.0):
    """Element i of the flattened tensor is sin(step i + start)."""
    values = np.sin(step * np.arange(int(np.prod(shape))) + start)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)
