"""Every step of the samplers of the DDIM repository, of diffusers and of the DDPM / conditional study along a
made-up network, for crates/diff-sample/tests/steps.rs.

    python tests/golden/steps.py PATH/TO/DDIM PATH/TO/STUDY crates/diff-sample/tests/fixtures

The first two arguments are checkouts of https://github.com/ermongroup/ddim (read at commit e8df66c) and
https://github.com/yinjjiew/Diffusion-Model (read at commit 8d83bc8); their code is run, not copied. Needs torch,
diffusers and safetensors (written with torch 2.15, diffusers 0.42.1). The network is that of solvers.py, in
f64; noise is 1 everywhere. A name says PEER/SAMPLER/ETA/CLIP/TRAJECTORY/STEPS in the product's words;
`inputs` are the states before the steps, `means` what the steps make of them without noise, and `scales`
what they do to noise.
"""

import importlib.util
import json
import sys

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from safetensors.torch import save_file

from fill import wave

SCHEDULE = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
SHAPE = [2, 1, 3, 4]


def network(x, k):
    return 0.5 * x + 0.3 * torch.sin(2 * x + 0.01 * float(k))


def start():
    return 3 * wave(SHAPE).double()


class Noise:
    """Ones, but for the draw whose number is `off`: zeros."""

    def __init__(self, off=None):
        self.off, self.drawn = off, 0

    def __call__(self, like, *_, **__):
        self.drawn += 1
        shape = like.shape if torch.is_tensor(like) else like
        return torch.full(tuple(shape), float(self.drawn - 1 != self.off), dtype=torch.float64)


def steps_of(chain, count):
    """`chain(noise)` gives the states after each of its `count` steps."""
    states = chain(Noise())
    assert len(states) == count, (len(states), count)
    means = [chain(Noise(off=i))[i] for i in range(count)]
    inputs = [start()] + states[:-1]
    scales = [(state - mean).flatten()[0] for state, mean in zip(states, means)]
    return dict(inputs=torch.stack(inputs), means=torch.stack(means), scales=torch.stack(scales))


def ddim_repository(path, found):
    spec = importlib.util.spec_from_file_location("denoising", f"{path}/functions/denoising.py")
    denoising = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(denoising)
    to = torch.Tensor.to
    # It computes on a GPU.
    torch.Tensor.to = lambda x, *a, **k: x if a[:1] in (("cuda",), ("cpu",)) else to(x, *a, **k)
    # As its runner makes them: rounded to f32.
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).float()
    uniform = list(range(0, 1000, 100))
    quadratic = [int(s) for s in torch.linspace(0, 800**0.5, 10, dtype=torch.float64) ** 2]

    def model(x, t):
        return network(x, t[0])

    for name, seq in [("ddim-uniform", uniform), ("ddim-quad", quadratic)]:
        for eta in ["0", "0.5", "1"]:
            def chain(noise):
                torch.randn_like = noise
                return denoising.generalized_steps(start(), seq, model, betas, eta=float(eta))[0][1:]
            found[f"ermongroup/ddim/{eta}/none/{name}/10"] = steps_of(chain, 10)

        def chain(noise):
            torch.randn_like = noise
            return denoising.ddpm_steps(start(), seq, model, betas)[0][1:]
        found[f"ermongroup/sigma-hat/-/posterior/{name}/10"] = steps_of(chain, 10)
    torch.Tensor.to = to


def of_diffusers(found):
    for variance, sampler in [("fixed_small", "ddpm"), ("fixed_large", "ddpm-large")]:
        for clip in [True, False]:
            def chain(noise):
                scheduling_ddpm.randn_tensor = noise
                scheduler = DDPMScheduler(**SCHEDULE, variance_type=variance, clip_sample=clip)
                scheduler.set_timesteps(10)
                x, states = start(), []
                for k in scheduler.timesteps:
                    x = scheduler.step(network(x, k), k, x).prev_sample
                    states.append(x)
                return states
            policy = "posterior" if clip else "none"
            found[f"diffusers/{sampler}/-/{policy}/diffusers-leading/10"] = steps_of(chain, 10)
    for eta in ["0", "0.5", "1"]:
        for policy in ["none", "keep-eps", "recompute-eps"]:
            def chain(noise):
                scheduler = DDIMScheduler(**SCHEDULE, clip_sample=policy != "none", set_alpha_to_one=True)
                scheduler.set_timesteps(10)
                x, states = start(), []
                for k in scheduler.timesteps:
                    drawn = noise(x)
                    x = scheduler.step(
                        network(x, k), k, x, eta=float(eta), use_clipped_model_output=policy == "recompute-eps",
                        variance_noise=drawn if float(eta) > 0 else None).prev_sample
                    states.append(x)
                return states
            found[f"diffusers/ddim/{eta}/{policy}/diffusers-leading/10"] = steps_of(chain, 10)


def the_study(path, found):
    with open(f"{path}/Conditional/sampler.ipynb") as file:
        cells = ["".join(cell["source"]) for cell in json.load(file)["cells"] if cell["cell_type"] == "code"]
    [constants] = [cell for cell in cells if "beta_T = 0.028" in cell]
    [arrays] = [cell for cell in cells if cell.startswith("betas =")]
    [sampler] = [cell for cell in cells if "def DDIM_sample" in cell]
    around = {"torch": torch, "F": torch.nn.functional}
    for cell in (constants, arrays, sampler):
        exec(cell, around)

    class Model:
        def eval(self):
            return self

        def __call__(self, x, t, label):
            states.append(x)
            return network(x, t[0])

    label = torch.ones(SHAPE[0], dtype=torch.long)
    states = []
    for steps in [10, 7]:
        for eta, simple in [("0", False), ("0.5", False), ("1", False), ("1", True)]:
            def chain(noise):
                torch.randn_like = noise
                states.clear()
                last = around["DDIM_sample"](start(), Model(), label, 0.0, float(eta), simple, steps)
                # Guidance of weight 0 asks twice.
                return states[2::2] + [last]
            name = "study-simple/-" if simple else f"study-ddim/{eta}"
            found[f"study/{name}/none/s2/{steps}"] = steps_of(chain, steps)


def main(ddim, study, folder):
    found, randn_like = {}, torch.randn_like
    of_diffusers(found)
    ddim_repository(ddim, found)
    # Its label of no class is made by zeros_like, its noise by randn_like alone.
    the_study(study, found)
    torch.randn_like = randn_like
    tensors = {f"{name}/{part}": x.double().contiguous() for name, case in found.items() for part, x in case.items()}
    save_file(tensors, f"{folder}/steps.safetensors")
    print(len(found), "cases")


if __name__ == "__main__":
    main(*sys.argv[1:])
