"""Outputs and gradients of the two `UNet`s that the DDPM / conditional study uses, for
crates/diff-models/tests/golden_study.rs.

    python tests/golden/study.py PATH/TO/REPOSITORY crates/diff-models/tests/fixtures

The first argument is a checkout of https://github.com/zoubohao/DenoisingDiffusionProbabilityModel-ddpm-
(read at commit 54532d6), whose networks the study copied; its code is imported, not copied. Rules and
contents are those of adm.py. The learnt table of times is filled like any other weight; the table that is
no weight stays as it is.
"""

import importlib.util
import json
import sys
import types

import torch
from safetensors.torch import save_file

from fill import scatter, wave

CASES = {
    # Attention at the second level, both ways.
    "ddpm8x12": dict(
        shape=[2, 3, 8, 12], times=[3, 900],
        config=dict(
            resolution=8, channels=64, multipliers=[1, 2], blocks=1, attention_levels=[1], dropout=0.15,
            timesteps=1000)),
    # The null label, kernels of 5, transposed convolutions, odd sides at the last level.
    "conditional12x20": dict(
        shape=[3, 3, 12, 20], times=[0, 17, 999], labels=[4, 0, 2],
        config=dict(
            resolution=12, channels=64, multipliers=[1, 1, 1], blocks=1, attention_levels=[], labels=5,
            dropout=0.15, timesteps=1000)),
}


def load(path):
    # An import that only old Pythons have, and that nothing uses.
    sys.modules.setdefault("telnetlib", types.SimpleNamespace(PRAGMA_HEARTBEAT=None))
    spec = importlib.util.spec_from_file_location("model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(repository, config):
    size = dict(
        T=config["timesteps"], ch=config["channels"], ch_mult=config["multipliers"],
        num_res_blocks=config["blocks"], dropout=config["dropout"])
    if "labels" in config:
        model = load(f"{repository}/DiffusionFreeGuidence/ModelCondition.py")
        return model.UNet(num_labels=config["labels"], **size)
    return load(f"{repository}/Diffusion/Model.py").UNet(attn=config["attention_levels"], **size)


def results(repository, case):
    model = build(repository, case["config"]).eval()
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model.load_state_dict({**model.state_dict(), **scatter(weights)})
    given = [torch.tensor(case["times"])]
    if "labels" in case:
        given.append(torch.tensor(case["labels"]))
    out = model(wave(case["shape"]), *given)
    (out * wave(out.shape, 0.23, 0.5)).sum().backward()
    tensors = {"out": out.detach().contiguous()}
    for name, parameter in weights.items():
        grad = parameter.grad.flatten()
        stride = max(1, grad.numel() // 32)
        tensors[f"norm.{name}"] = grad.double().norm().float().reshape(1)
        tensors[f"some.{name}"] = grad[::stride][:32].contiguous()
    return tensors, list(weights)


def main(repository, folder):
    torch.set_num_threads(1)
    for name, case in CASES.items():
        tensors, order = results(repository, case)
        about = {key: json.dumps(case.get(key)) for key in ["config", "shape", "times", "labels"]}
        save_file(tensors, f"{folder}/study_{name}.safetensors", metadata={**about, "order": json.dumps(order)})
        print(name, len(order), sum(t.numel() for t in tensors.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
