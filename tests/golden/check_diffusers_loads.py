"""Checks that diffusers loads a checkpoint folder of ours and computes what we compute.

    diff-models init --set channels=32 --set 'multipliers=[1,2]' --set resolution=16 \
        --set 'attention_resolutions=[8]' --set blocks=1 --out MODEL
    python tests/golden/check_diffusers_loads.py MODEL path/to/diff-models

Needs torch, diffusers and safetensors.
"""

import os
import subprocess
import sys
import tempfile

import torch
from diffusers import DDPMPipeline
from safetensors.torch import load_file, save_file

from fill import wave


def main(folder, binary):
    torch.set_num_threads(1)
    pipeline = DDPMPipeline.from_pretrained(folder)
    unet = pipeline.unet
    size = unet.config.sample_size
    shape = [2, unet.config.in_channels] + ([size, size] if isinstance(size, int) else list(size))
    x, times = wave(shape), torch.tensor([3, 700])
    inputs = {"x": x, "network_time": times}
    if unet.config.num_class_embeds:
        inputs["class"] = torch.tensor([0, unet.config.num_class_embeds - 1])
    with torch.no_grad():
        theirs = unet(x, times, class_labels=inputs.get("class")).sample
    with tempfile.TemporaryDirectory() as scratch:
        source, target = os.path.join(scratch, "in.safetensors"), os.path.join(scratch, "out.safetensors")
        save_file(inputs, source)
        subprocess.run([binary, "forward", "--checkpoint", folder, "--input", source, "--output", target], check=True)
        ours = load_file(target)["prediction"]
    relative = ((ours - theirs).norm() / theirs.norm()).item()
    print(type(pipeline.scheduler).__name__, pipeline.scheduler.config.beta_schedule, f"relative {relative:.2e}")
    assert relative < 1e-5
    sample = pipeline(batch_size=1, num_inference_steps=2, output_type="np").images
    assert sample.shape[0] == 1


if __name__ == "__main__":
    main(*sys.argv[1:])
