"""Outputs and gradients of guided-diffusion's `UNetModel`, for crates/diff-models/tests/golden_adm.rs.

    python tests/golden/adm.py PATH/TO/guided-diffusion crates/diff-models/tests/fixtures

The first argument is a checkout of https://github.com/openai/guided-diffusion (read at commit 22e0df8);
its code is imported, not copied. Weights and inputs follow the rules `scatter` and `wave` of fill.py, so
that only results are stored: `out`, and of the gradient of sum(out * wave(0.23, 0.5)) by every parameter
its norm, `norm.NAME`, and 32 evenly strided entries, `some.NAME`. Widths are 64 and more: a norm over
groups of one channel does not see what is added to them, and gradients would be rounding.
"""

import json
import sys

import torch
from safetensors.torch import save_file

from fill import scatter, wave

CASES = {
    # Classes, learned sigma, two heads in the older order, not square.
    "classes12x20": dict(
        shape=[3, 3, 12, 20], times=[0, 250, 999], labels=[4, 0, 2],
        config=dict(
            image_size=12, in_channels=3, model_channels=64, out_channels=6, num_res_blocks=1,
            attention_resolutions=[2], dropout=0.3, channel_mult=[1, 2], num_classes=5, num_heads=2,
            use_scale_shift_norm=True)),
    # Residual resampling, heads by width in the newer order, a first width of half, three levels.
    "updown16": dict(
        shape=[2, 3, 16, 16], times=[3, 17],
        config=dict(
            image_size=16, in_channels=3, model_channels=128, out_channels=3, num_res_blocks=1,
            attention_resolutions=[2, 4], channel_mult=[0.5, 0.5, 1], num_head_channels=16,
            use_scale_shift_norm=True, resblock_updown=True, use_new_attention_order=True)),
    # Time added, plain pooling, other heads on the way up, two blocks a level.
    "plain8x12": dict(
        shape=[2, 3, 8, 12], times=[1, 700],
        config=dict(
            image_size=8, in_channels=3, model_channels=64, out_channels=3, num_res_blocks=2,
            attention_resolutions=[1], channel_mult=[1, 1], conv_resample=False, num_heads=4,
            num_heads_upsample=2)),
}


def results(model_class, case):
    model = model_class(**case["config"]).eval()
    model.load_state_dict(scatter(model.state_dict()))
    labels = torch.tensor(case["labels"]) if "labels" in case else None
    out = model(wave(case["shape"]), torch.tensor(case["times"]), labels)
    (out * wave(out.shape, 0.23, 0.5)).sum().backward()
    tensors = {"out": out.detach().contiguous()}
    for name, parameter in model.named_parameters():
        grad = parameter.grad.flatten()
        stride = max(1, grad.numel() // 32)
        tensors[f"norm.{name}"] = grad.double().norm().float().reshape(1)
        tensors[f"some.{name}"] = grad[::stride][:32].contiguous()
    return tensors, [name for name, _ in model.named_parameters()]


def main(repository, folder):
    torch.set_num_threads(1)
    sys.path.insert(0, repository)
    from guided_diffusion.unet import UNetModel

    for name, case in CASES.items():
        tensors, order = results(UNetModel, case)
        about = {key: json.dumps(case.get(key)) for key in ["config", "shape", "times", "labels"]}
        save_file(tensors, f"{folder}/adm_{name}.safetensors", metadata={**about, "order": json.dumps(order)})
        print(name, sum(t.numel() for t in tensors.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
