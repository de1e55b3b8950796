"""Files of `torch.save` in all the shapes that are read, for crates/diff-models/tests/torch_files.rs.

    python tests/golden/torch_files.py crates/diff-models/tests/fixtures

Element i of the tensor numbered n is (5 i + 3 n) mod 37, a fourth of it in types with a point, which each of
them holds exactly. Networks are as small as can be: what matters is how files are laid out.
"""

import sys
from argparse import Namespace
from unittest import mock

import numpy as np
import torch


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 1)
        self.out = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.out(self.conv(x))


def numbered(n, shape, dtype=torch.float32):
    values = (5 * torch.arange(int(np.prod(shape))) + 3 * n) % 37
    values = values.to(dtype) if dtype in [torch.int64, torch.uint8] else (values / 4).to(dtype)
    return values.reshape(shape)


def network(start):
    """Four parameters, numbered from `start` in their order."""
    net = Network()
    with torch.no_grad():
        for n, parameter in enumerate(net.parameters()):
            parameter.copy_(numbered(start + n, parameter.shape))
    return net


def prefixed(net):
    """Its state dict in data-parallel training."""
    return torch.nn.DataParallel(net).state_dict()


def trained(net, start):
    """An optimiser that has stepped once and keeps averages numbered from `start`; the parameters stay."""
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    net(torch.ones(1, 2, 3, 3)).sum().backward()
    optimizer.step()
    net.load_state_dict(before)
    for n, parameter in enumerate(net.parameters()):
        if start is not None:
            optimizer.state[parameter]["ema"] = numbered(start + n, parameter.shape)
    return optimizer


def views():
    """One storage, and what can be seen of it."""
    whole = numbered(0, [4, 6])
    return {
        "whole": whole,
        "transposed": whole.t(),
        "strided": whole[1::2, ::3],
        "offset": whole[2],
        "permuted": whole.view(2, 2, 6).permute(2, 0, 1),
        "scalar": whole[3, 5],
        "empty": whole[4:],
    }


def dtypes():
    types = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]
    return {str(dtype).removeprefix("torch."): numbered(n, [2, 5], dtype) for n, dtype in enumerate(types)}


def sa_dpm(averages):
    net = network(0)
    optimizer = trained(net, averages)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    return {
        "model_dict": prefixed(net),
        "epoch": 3,
        "args": Namespace(device=torch.device("cpu"), doc="cifar10", lr=2e-4, seed=None),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "step": 17,
        "rng": numbered(0, [4], torch.uint8),
    }


def study():
    return {
        "model_state_dict": network(0).state_dict(keep_vars=True),
        "options": Namespace(T=1000, betas=[1e-4, 0.02], use_ema=False),
        "best": np.float64(0.125),
        "curve": np.arange(3.0),
    }


def save_legacy(content, path, protocol):
    """Saves as PyTorch did before 1.6, but storages are named by order, not by where they lie in memory."""
    names = {}

    def name(address):
        return names.setdefault(address, f"{100 + len(names)}")

    # `str` is what makes a name of an address there.
    with open(path, "wb") as file, mock.patch("torch.serialization.str", name, create=True):
        torch.serialization._legacy_save(content, file, torch.serialization.pickle, protocol)


def main(folder):
    torch.manual_seed(0)
    raw = network(0)
    ermongroup = [prefixed(raw), trained(raw, None).state_dict(), 5, 700, dict(network(4).state_dict())]

    def both(name, content):
        torch.save(content, f"{folder}/torch_zip_{name}.pth")
        legacy(name, content)

    def legacy(name, content, protocol=2):
        save_legacy(content, f"{folder}/torch_legacy_{name}.pth", protocol)

    both("flat", network(0).state_dict())
    both("views", views())
    both("dtypes", dtypes())
    both("ermongroup", ermongroup)
    both("list", [numbered(n, [1, n + 2, 1, 1]) for n in range(5)])
    torch.save(sa_dpm(4), f"{folder}/torch_zip_sadpm.pth")
    torch.save(study(), f"{folder}/torch_zip_study.pth")
    legacy("sadpm_raw", sa_dpm(None))
    legacy("protocol5", network(0).state_dict(), protocol=5)
    legacy("uint8", {"weight": numbered(0, [2]), "table": numbered(1, [3], torch.uint8)})


if __name__ == "__main__":
    main(*sys.argv[1:])
