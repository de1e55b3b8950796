"""Every step of diffusers' schedulers along a made-up network, for crates/diff-sample/tests/solvers.rs.

    python tests/golden/solvers.py crates/diff-sample/tests/fixtures

Needs torch, diffusers and safetensors (written with torch 2.15, diffusers 0.42.1). The network is
eps(x, k) = 0.5 x + 0.3 sin(2 x + 0.01 k), k counted from 0; it starts from `wave` of fill.py, in f64, under
the linear schedule of 1000 steps. `NAME.times` are the network's times k in their order, `NAME.states` the
state after every step, in the scale of the forward process.
"""

import sys

import torch
from diffusers import (
    DPMSolverMultistepScheduler, HeunDiscreteScheduler, PNDMScheduler, UniPCMultistepScheduler)
from safetensors.torch import save_file

from fill import wave

SCHEDULE = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
SHAPE = [2, 1, 3, 4]


def network(x, k):
    return 0.5 * x + 0.3 * torch.sin(2 * x + 0.01 * float(k))


def start():
    return wave(SHAPE).double()


def dpm_solver(steps):
    return multistep(DPMSolverMultistepScheduler(**SCHEDULE, solver_order=2, final_sigmas_type="zero"), steps)


def unipc(steps):
    return multistep(UniPCMultistepScheduler(**SCHEDULE, solver_order=2, final_sigmas_type="zero"), steps)


def multistep(scheduler, steps):
    scheduler.set_timesteps(steps)
    x, states = start(), []
    for k in scheduler.timesteps:
        x = scheduler.step(network(x, k), k, x).prev_sample
        states.append(x)
    return scheduler.timesteps, states


def heun(steps):
    scheduler = HeunDiscreteScheduler(**SCHEDULE)
    scheduler.set_timesteps(steps)
    sigma = float(scheduler.sigmas[0])
    x, states, times = start() * (sigma**2 + 1) ** 0.5, [], []
    for k in scheduler.timesteps:
        # The second prediction of a step is at the next one's time.
        if scheduler.state_in_first_order:
            times.append(k)
        x = scheduler.step(network(scheduler.scale_model_input(x, k), k), k, x).prev_sample
        if scheduler.state_in_first_order:
            sigma = float(scheduler.sigmas[scheduler.step_index])
            states.append(x / (sigma**2 + 1) ** 0.5)
    # The last step has one prediction, after which diffusers waits for another.
    if not scheduler.state_in_first_order:
        states.append(x)
    return torch.stack(times), states


def plms(steps):
    scheduler = PNDMScheduler(**SCHEDULE, skip_prk_steps=True, set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    x, states = start(), []
    for i, k in enumerate(scheduler.timesteps):
        x = scheduler.step(network(x, k), k, x).prev_sample
        # The first two predictions make one step.
        if i > 0:
            states.append(x)
    times = [k for i, k in enumerate(scheduler.timesteps) if i != 1]
    return torch.stack(times), states


def main(folder):
    found = {}
    for name, run in [("dpmpp-2m", dpm_solver), ("heun", heun), ("plms", plms), ("unipc", unipc)]:
        for steps in [4, 10]:
            times, states = run(steps)
            assert len(times) == len(states), (name, len(times), len(states))
            found[f"{name}.{steps}.times"] = times.double()
            found[f"{name}.{steps}.states"] = torch.stack(states).double()
            print(name, steps, times.tolist())
    save_file(found, f"{folder}/solvers.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
