"""Every step of DDIM run upwards along a made-up network, for crates/diff-sample/tests/latents.rs.

    python tests/golden/latents.py PATH/TO/guided-diffusion crates/diff-sample/tests/fixtures

The first argument is a checkout of https://github.com/openai/guided-diffusion (read at commit 22e0df8). Needs
torch, numpy, diffusers and safetensors (written with torch 2.15, diffusers 0.42.1). The network is
eps(x, k) = 0.5 x + 0.3 sin(2 x + 0.01 k), k counted from 0; pictures are `wave` of fill.py, in f64, under the
linear schedule of 1000 steps. `NAME.times` are the times k that are visited, `NAME.states` the state after
every step.

`clean.S` are steps of diffusers' DDIMInverseScheduler from clean pictures. It leaves to its callers at which
time the network is asked: here at that of the state, and in the first step at the first time.
`first` and `first.clipped` are guided-diffusion's `ddim_reverse_sample`, which takes pictures to be at the first
time.
"""

import sys

import torch
from diffusers import DDIMInverseScheduler
from safetensors.torch import save_file

from fill import wave

TIMESTEPS = 1000


def network(x, k):
    return 0.5 * x + 0.3 * torch.sin(2 * x + 0.01 * float(k))


def pictures():
    return wave([2, 1, 3, 4]).double()


def inverse(steps):
    scheduler = DDIMInverseScheduler(
        num_train_timesteps=TIMESTEPS, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
        timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    x, states, at = pictures(), [], None
    for k in scheduler.timesteps:
        x = scheduler.step(network(x, k if at is None else at), k, x).prev_sample
        states.append(x)
        at = k
    return {"times": scheduler.timesteps.double(), "states": torch.stack(states)}


def reverse(clip):
    from guided_diffusion import gaussian_diffusion as gd
    from guided_diffusion.respace import SpacedDiffusion, space_timesteps

    times = sorted(space_timesteps(TIMESTEPS, "10"))
    diffusion = SpacedDiffusion(
        use_timesteps=times, betas=gd.get_named_beta_schedule("linear", TIMESTEPS),
        model_mean_type=gd.ModelMeanType.EPSILON, model_var_type=gd.ModelVarType.FIXED_LARGE,
        loss_type=gd.LossType.MSE)
    x, states = pictures(), []
    for i in range(len(times) - 1):
        rows = torch.full([len(x)], i)
        found = diffusion.ddim_reverse_sample(lambda x, k: network(x, k[0]), x, rows, clip_denoised=clip)
        x = found["sample"]
        states.append(x)
    return {"times": torch.tensor(times).double(), "states": torch.stack(states)}


def main(repository, folder):
    sys.path.insert(0, repository)
    runs = {f"clean.{steps}": inverse(steps) for steps in [4, 10]}
    runs |= {"first": reverse(False), "first.clipped": reverse(True)}
    found = {f"{name}.{part}": value for name, run in runs.items() for part, value in run.items()}
    for name, value in found.items():
        print(name, list(value.shape))
    save_file({name: value.contiguous() for name, value in found.items()}, f"{folder}/latents.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
