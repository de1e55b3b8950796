"""Outputs and gradients of the networks with a second head of Extended-Analytic-DPM, for
crates/diff-models/tests/golden_heads.rs.

    python tests/golden/heads.py PATH/TO/Extended-Analytic-DPM crates/diff-models/tests/fixtures

The first argument is a checkout of https://github.com/baofff/Extended-Analytic-DPM (read at commit
92aa768); its code is imported, not copied. Weights follow the rule `scatter` of fill.py over the names and
shapes that are stored along (`shapes`); contents are those of adm.py, gradients those of the head alone.
"""

import json
import sys

import torch
from safetensors.torch import save_file

from fill import scatter, wave

DDPM = dict(
    ch=64, out_ch=3, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), dropout=0.1, in_channels=3,
    resolution=8, head_out_ch=3)
IDDPM = dict(
    in_channels=3, model_channels=64, num_res_blocks=1, attention_resolutions=(2,), dropout=0.3,
    channel_mult=(1, 2), dims=2, num_heads=2, use_scale_shift_norm=True, head_out_channels=3)
CASES = {
    "ddpm_simple": dict(family="ddpm", config=dict(DDPM, mode="simple")),
    "ddpm_complex": dict(family="ddpm", config=dict(DDPM, mode="complex")),
    "iddpm_simple": dict(family="iddpm", config=dict(IDDPM, mode="simple", out_channels=6)),
    "iddpm_complex": dict(family="iddpm", config=dict(IDDPM, mode="complex", out_channels=3)),
}
SHAPE, TIMES = [2, 3, 8, 8], [3, 900]


def results(case):
    if case["family"] == "ddpm":
        from libs.ddpm import Model4Pretrained as model_class
    else:
        from libs.iddpm import UNetModel4Pretrained as model_class
    model = model_class(**case["config"]).eval()
    state = model.state_dict()
    model.load_state_dict(scatter(state))
    out = model(wave(SHAPE), torch.tensor(TIMES))
    (out * wave(out.shape, 0.23, 0.5)).sum().backward()
    tensors = {"out": out.detach().contiguous()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            grad = parameter.grad.flatten()
            stride = max(1, grad.numel() // 32)
            tensors[f"norm.{name}"] = grad.double().norm().float().reshape(1)
            tensors[f"some.{name}"] = grad[::stride][:32].contiguous()
    return tensors, {name: list(value.shape) for name, value in state.items()}


def main(repository, folder):
    torch.set_num_threads(1)
    sys.path.insert(0, repository)
    for name, case in CASES.items():
        tensors, shapes = results(case)
        about = dict(config=case["config"], shapes=shapes, shape=SHAPE, times=TIMES)
        about = {key: json.dumps(value) for key, value in about.items()}
        save_file(tensors, f"{folder}/heads_{name}.safetensors", metadata=about)
        print(name, len(shapes), [n for n in tensors if n.startswith("norm")])


if __name__ == "__main__":
    main(*sys.argv[1:])
