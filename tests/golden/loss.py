"""Losses and gradient norms in torch, for tests/tests/cli/loss.rs.

    python tests/golden/loss.py tests/fixtures/loss

Needs torch, diffusers and safetensors (written with torch 2.15, diffusers 0.42.1). Writes a
pipeline folder as diffusers itself saves it (`model`), the inputs (`input.safetensors`) and what
SA-DPM's algorithm 3 comes to on them, one network call at a time (`expected.json`).
"""

import json
import pathlib
import sys

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

T, B, K = 1000, 4, 3


def network():
    torch.manual_seed(5)
    return UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 12), norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6, attention_head_dim=None).eval()


def losses(model, alpha_bar, x0, t, noise, steps, weight):
    """L_simple and L_sa of windows that run down from t (paper time); terms below 1 are masked."""
    total, simple = 0.0, None
    for j in range(steps):
        s = t - j
        inside = (s >= 1).float()[:, None, None, None]
        a = alpha_bar[s.clamp(min=0)][:, None, None, None].float()
        x = a.sqrt() * x0 + (1 - a).sqrt() * noise[j]
        residual = noise[j] - model(x, s.clamp(min=1) - 1).sample
        if j == 0:
            simple = residual.square().sum(dim=(1, 2, 3)).mean()
        total = total + inside * residual
    sa = total.square().sum(dim=(1, 2, 3)).mean() / steps**2
    return simple, (sa if steps > 1 else None), simple + weight * sa if steps > 1 else simple


def main(folder):
    torch.set_num_threads(1)
    folder = pathlib.Path(folder)
    model = network()
    scheduler = DDPMScheduler(num_train_timesteps=T)
    DDPMPipeline(unet=model, scheduler=scheduler).save_pretrained(folder / "model", safe_serialization=True)
    beta = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta, 0)])
    generator = torch.Generator().manual_seed(7)
    x0 = torch.rand(B, 1, 8, 8, generator=generator) * 2 - 1
    noise = torch.randn(K, B, 1, 8, 8, generator=generator)
    t = torch.tensor([1, 2, 500, 1000])  # the first two have masked places
    save_file({"x0": x0, "t": t, "noise": noise}, folder / "input.safetensors")
    expected = {}
    for name, steps, weight in [("simple", 1, 0.0), ("sa2", 2, 1.0), ("sa3", 3, 0.3)]:
        model.zero_grad()
        simple, sa, total = losses(model, alpha_bar, x0, t, noise, steps, weight)
        total.backward()
        norms = {n: p.grad.double().norm().item() for n, p in model.named_parameters()}
        expected[name] = dict(
            steps=steps, weight=weight, simple=simple.item(), sa=None if sa is None else sa.item(),
            total=total.item(), grad_norms=norms)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
