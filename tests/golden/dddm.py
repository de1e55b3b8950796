"""Outputs and gradients of DDDM's `UNetModel`, for crates/diff-models/tests/golden_dddm.rs.

    python tests/golden/dddm.py PATH/TO/DDDM crates/diff-models/tests/fixtures

The first argument is a checkout of https://github.com/TheLuoFengLab/DDDM (read at commit 7af7068); its
code is imported, not copied, and needs the package einops. Rules and contents are those of adm.py; the image that the network is given
is `wave(0.11, 0.5)`. (The memory of pictures that the class allocates is made small first.)
"""

import json
import sys

import torch
from safetensors.torch import save_file

from fill import scatter, wave

CASES = {
    # The released design: scale and shift, four heads, two places on the way up; not square.
    "cross8x12": dict(
        shape=[2, 3, 8, 12], times=[3, 900], image=True,
        config=dict(
            image_size=8, in_channels=3, model_channels=64, out_channels=3, num_res_blocks=1,
            attention_resolutions=[2], dropout=0.3, channel_mult=[1, 1], num_heads=4,
            use_scale_shift_norm=True, use_CA=True)),
    # Classes, time added, two heads, attention at both levels.
    "classes4": dict(
        shape=[3, 3, 4, 4], times=[0, 17, 999], labels=[4, 0, 2], image=True,
        config=dict(
            image_size=4, in_channels=3, model_channels=64, out_channels=3, num_res_blocks=1,
            attention_resolutions=[1, 2], channel_mult=[1, 2], num_classes=5, num_heads=2, use_CA=True)),
    # The image is not looked at.
    "plain6": dict(
        shape=[2, 3, 6, 6], times=[1, 700],
        config=dict(
            image_size=6, in_channels=3, model_channels=64, out_channels=3, num_res_blocks=1,
            attention_resolutions=[2], channel_mult=[1, 1], num_heads=4, use_scale_shift_norm=True)),
}


def results(model_class, case):
    config = {k: v for k, v in case["config"].items() if k != "image_size"}
    model = model_class(**config).eval()
    del model.x_bar
    model.load_state_dict(scatter(model.state_dict()))
    labels = torch.tensor(case["labels"]) if "labels" in case else None
    image = wave(case["shape"], 0.11, 0.5) if case.get("image") else None
    out = model(wave(case["shape"]), torch.tensor(case["times"]), context=image, y=labels)
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
    randn = torch.randn
    torch.randn = lambda *size, **other: randn(1) if size[0] == 50000 else randn(*size, **other)
    from DDDM.unet import UNetModel

    for name, case in CASES.items():
        tensors, order = results(UNetModel, case)
        keys = ["config", "shape", "times", "labels", "image"]
        about = {key: json.dumps(case.get(key, False if key == "image" else None)) for key in keys}
        save_file(tensors, f"{folder}/dddm_{name}.safetensors", metadata={**about, "order": json.dumps(order)})
        print(name, len(order), sum(t.numel() for t in tensors.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
