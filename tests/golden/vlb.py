"""Likelihood training, measurement and sampling by guided-diffusion's `GaussianDiffusion`, in f64.

    python tests/golden/vlb.py PATH/TO/guided-diffusion crates/diff-train/tests/fixtures

The first argument is a checkout of https://github.com/openai/guided-diffusion (read at commit 22e0df8);
its code is imported, not copied. It casts every coefficient to f32 by `Tensor.float`, which is made `double`
here. Read by crates/diff-train/tests/vlb.rs, crates/diff-sample/tests/learned.rs and the tests of
`likelihood` in crates/diff-eval. There are 40 steps, `betas`.

Losses: `x0`, `noise`, `t` (paper times) and `output`, what a network with two blocks of channels gives,
are one for all; `loss.NAME`, `grad.NAME` and, where there are any, `mse.NAME` and `vb.NAME` are a loss of
`training_losses` averaged over rows, its gradient by the output, and its parts.

Measurement: of the pictures `pictures`, by the made-up network below. At picture i, time t (from 1) and
place j the noise is sin(1.3 j + 0.7 i + 2.1 t). `bpd.NAME` are the terms [N, T] of `calc_bpd_loop`,
`prior.NAME` [N] its prior, with x_0 clipped or (`-free`) not.

Sampling: mean and variance of `p_mean_variance` at the times `visited` of a `SpacedDiffusion`, at
x = `state`, a row a time: `mean.NAME`, `variance.NAME`.

The made-up network: eps = 0.5 x + 0.3 sin(2 x + 0.01 k), range = 1.2 sin(3 x + 0.02 k), k counted from 0.
"""

import sys

import torch
from safetensors.torch import save_file

from fill import wave

T = 40
VISITED = [1, 2, 9, 25, 40]


def network(x, k):
    k = k.double().reshape(-1, 1, 1, 1)
    eps = 0.5 * x + 0.3 * torch.sin(2 * x + 0.01 * k)
    return torch.cat([eps, 1.2 * torch.sin(3 * x + 0.02 * k)], dim=1)


def levels(values):
    """The nearest of 256 grey levels over [-1, 1]."""
    return torch.round((values.double().clamp(-1, 1) + 1) * 127.5) / 127.5 - 1


def losses(diffusion, kinds):
    x0 = levels(wave([7, 2, 2, 3], 0.37) * 1.2)
    noise = wave([7, 2, 2, 3], 0.91, 0.4).double() * 1.4
    # The second row at t = 1 is so far off that its probabilities are at their floor.
    off = torch.tensor([0.1, 0, 0.3, 0.2, 0.3, 0.4, 0.5]).double().reshape(-1, 1, 1, 1)
    mean = noise + off * wave([7, 2, 2, 3], 1.7, 0.2).double()
    mean[1] += 60 * torch.sign(mean[1])
    output = torch.cat([mean, 1.5 * wave([7, 2, 2, 3], 0.53, 1.0).double()], dim=1)
    times = torch.tensor([1, 1, 1, 2, 9, 39, 40])
    found = {"x0": x0, "noise": noise, "t": times.double(), "output": output}
    for name, (variance, loss) in kinds.items():
        outputs = (output if "range" in name else mean).clone().requires_grad_()
        made = diffusion(variance, loss)
        terms = made.training_losses(lambda x, t: outputs, x0, times - 1, noise=noise)
        terms["loss"].mean().backward()
        found[f"grad.{name}"] = outputs.grad
        found.update({f"{part}.{name}": value.mean().detach().reshape(1) for part, value in terms.items()})
    return found


def measurement(diffusion, variances, loss):
    pictures = levels(wave([3, 1, 2, 3], 0.83, 0.3))
    place, row = torch.arange(6).double(), torch.arange(3).double().reshape(-1, 1)
    found = {"pictures": pictures}
    for name, variance in variances.items():
        for ending, clip in [("", True), ("-free", False)]:
            left = iter(range(T, 0, -1))
            noise = lambda x: torch.sin(1.3 * place + 0.7 * row + 2.1 * next(left)).reshape(x.shape)
            model = network if name == "range" else lambda x, k: network(x, k)[:, :1]
            drawn, torch.randn_like = torch.randn_like, noise
            terms = diffusion(variance, loss).calc_bpd_loop(model, pictures, clip_denoised=clip)
            torch.randn_like = drawn
            # The terms come from t = T down.
            found[f"bpd.{name}{ending}"] = terms["vb"].flip(1).contiguous()
            found[f"prior.{name}{ending}"] = terms["prior_bpd"]
    return found


def sampling(spaced):
    state = wave([len(VISITED), 1, 2, 3], 0.61, 0.1).double() * 1.5
    found = {"state": state, "visited": torch.tensor(VISITED).double()}
    for name, clip in [("clipped", True), ("free", False)]:
        out = spaced.p_mean_variance(network, state, torch.arange(len(VISITED)), clip_denoised=clip)
        found[f"mean.{name}"], found[f"variance.{name}"] = out["mean"], out["variance"]
    return found


def main(repository, folder):
    torch.set_num_threads(1)
    torch.Tensor.float = torch.Tensor.double
    sys.path.insert(0, repository)
    from guided_diffusion.gaussian_diffusion import (
        GaussianDiffusion, LossType, ModelMeanType, ModelVarType, get_named_beta_schedule)
    from guided_diffusion.respace import SpacedDiffusion

    common = dict(betas=get_named_beta_schedule("linear", T), model_mean_type=ModelMeanType.EPSILON)
    diffusion = lambda variance, loss: GaussianDiffusion(**common, model_var_type=variance, loss_type=loss)
    small, large, learned = ModelVarType.FIXED_SMALL, ModelVarType.FIXED_LARGE, ModelVarType.LEARNED_RANGE
    kinds = {
        "kl-small": (small, LossType.KL), "rescaled-kl-small": (small, LossType.RESCALED_KL),
        "kl-large": (large, LossType.KL), "kl-range": (learned, LossType.KL),
        "rescaled-kl-range": (learned, LossType.RESCALED_KL), "mse-range": (learned, LossType.MSE),
        "rescaled-mse-range": (learned, LossType.RESCALED_MSE)}
    spaced = SpacedDiffusion(
        [t - 1 for t in VISITED], **common, model_var_type=learned, loss_type=LossType.MSE)
    variances = {"small": small, "large": large, "range": learned}
    found = {"betas": torch.from_numpy(common["betas"])}
    found.update(losses(diffusion, kinds))
    found.update(measurement(diffusion, variances, LossType.KL))
    found.update(sampling(spaced))
    save_file({name: value.contiguous() for name, value in found.items()}, f"{folder}/vlb.safetensors")
    print({name: round(float(value), 6) for name, value in found.items() if value.numel() == 1})
    print({name: value.sum(1).tolist() for name, value in found.items() if name.startswith("bpd")})


if __name__ == "__main__":
    main(*sys.argv[1:])
