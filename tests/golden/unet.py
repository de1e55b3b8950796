"""Outputs and gradients of diffusers' UNet2DModel, for crates/diff-models/tests/golden_unet.rs.

    python tests/golden/unet.py crates/diff-models/tests/fixtures [NAME ...]

Needs torch, diffusers and safetensors (written with torch 2.15, diffusers 0.42.1). Weights and
inputs follow the rules `scatter` and `wave` of fill.py, so that only results are stored: `out`, and the gradient of
sum(out * wave(0.23, 0.5)) for every parameter: `grad.NAME`, or, for the CIFAR-10 network,
`norm.NAME` and `some.NAME` (64 evenly strided entries).
"""

import json
import sys

import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file

from fill import scatter, wave

DDPM = dict(downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6, attention_head_dim=None)

CASES = {
    "cifar10": dict(
        shape=[1, 3, 32, 32], times=[500], some=True,
        config=dict(
            DDPM, sample_size=32, in_channels=3, out_channels=3, layers_per_block=2, norm_num_groups=32,
            block_out_channels=[128, 256, 256, 256],
            down_block_types=["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"])),
    # One channel, one layer, 28x28, attention at the lower level, input centred.
    "grey28": dict(
        shape=[2, 1, 28, 28], times=[3, 17], some=False,
        config=dict(
            DDPM, sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
            block_out_channels=[8, 12], center_input_sample=True,
            down_block_types=["DownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "UpBlock2D"])),
    # Not square, other output channels, classes, the library's own defaults, heads of width 8.
    "classes12x20": dict(
        shape=[3, 4, 12, 20], times=[0, 250, 999], some=False, labels=[4, 0, 2],
        config=dict(
            sample_size=[12, 20], in_channels=4, out_channels=6, layers_per_block=1, norm_num_groups=4,
            block_out_channels=[8, 16], num_class_embeds=5, flip_sin_to_cos=True, freq_shift=0,
            downsample_padding=1, attention_head_dim=8, norm_eps=2e-5, dropout=0.3,
            down_block_types=["AttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "AttnUpBlock2D"])),
    # Three levels, two layers, no attention at all, scaled middle, odd widths.
    "plain3": dict(
        shape=[2, 3, 8, 16], times=[1, 700], some=False,
        config=dict(
            sample_size=[8, 16], in_channels=3, out_channels=3, layers_per_block=2, norm_num_groups=3,
            block_out_channels=[9, 12, 15], add_attention=False, mid_block_scale_factor=1.5,
            time_embedding_dim=20,
            down_block_types=["DownBlock2D"] * 3, up_block_types=["UpBlock2D"] * 3)),
    # Time as scale and shift, with which the library's attention in the middle has no norm.
    "shifted12x8": dict(
        shape=[2, 3, 12, 8], times=[2, 640], some=False,
        config=dict(
            sample_size=[12, 8], in_channels=3, out_channels=3, layers_per_block=1, norm_num_groups=4,
            block_out_channels=[8, 12], attention_head_dim=4, resnet_time_scale_shift="scale_shift",
            down_block_types=["DownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "UpBlock2D"])),
    # Residual blocks that resample, by the kind of level and by the kind of resampling; learnt times.
    "resnet8x16": dict(
        shape=[2, 3, 8, 16], times=[2, 39], some=True,
        config=dict(
            sample_size=[8, 16], in_channels=3, out_channels=3, layers_per_block=1, norm_num_groups=4,
            block_out_channels=[8, 12, 16], attention_head_dim=4, resnet_time_scale_shift="scale_shift",
            time_embedding_type="learned", num_train_timesteps=40, downsample_type="resnet",
            upsample_type="resnet", attn_norm_num_groups=4,
            down_block_types=["ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"],
            up_block_types=["ResnetUpsampleBlock2D", "AttnUpBlock2D", "UpBlock2D"])),
}


def results(case):
    model = UNet2DModel(**case["config"]).eval()
    model.load_state_dict(scatter(model.state_dict()))
    times = torch.tensor(case["times"])
    labels = torch.tensor(case["labels"]) if "labels" in case else None
    out = model(wave(case["shape"]), times, class_labels=labels).sample
    (out * wave(out.shape, 0.23, 0.5)).sum().backward()
    tensors = {"out": out.detach().contiguous()}
    for name, parameter in model.named_parameters():
        grad = parameter.grad.flatten()
        if case["some"]:
            stride = max(1, grad.numel() // 64)
            tensors[f"norm.{name}"] = grad.double().norm().float().reshape(1)
            tensors[f"some.{name}"] = grad[::stride][:64].contiguous()
        else:
            tensors[f"grad.{name}"] = parameter.grad.contiguous()
    return tensors, [name for name, _ in model.named_parameters()]


def main(folder, *names):
    torch.set_num_threads(1)
    for name in names or CASES:
        case = CASES[name]
        tensors, order = results(case)
        about = {key: json.dumps(case.get(key)) for key in ["config", "shape", "times", "labels"]}
        save_file(tensors, f"{folder}/unet_{name}.safetensors", metadata={**about, "order": json.dumps(order)})
        print(name, sum(t.numel() for t in tensors.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
