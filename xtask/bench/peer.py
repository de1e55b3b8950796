"""The PyTorch side of cargo xtask bench: diffusers' UNet2DModel on weights that diff-models wrote.

    python xtask/bench/peer.py versions
    python xtask/bench/peer.py forward --model DIR --input FILE --reference FILE
    python xtask/bench/peer.py step    --model DIR --input FILE
    python xtask/bench/peer.py ddim    --model DIR --input FILE --reference FILE --steps 10
    python xtask/bench/peer.py pictures  --output DIR
    python xtask/bench/peer.py inception --input DIR --reference FILE --batch 32
    python xtask/bench/peer.py fid       --input DIR --reference FILE --batch 32
    python xtask/bench/peer.py moments   --output DIR --batch 2048
    python xtask/bench/peer.py frechet   --input DIR --reference FILE

Needs torch, diffusers, safetensors and numpy (written with torch 2.15, diffusers 0.42.1); the last five
pytorch-fid (0.3.0) and Pillow. `pictures` writes weights of FID's Inception, as torch starts them, and
64 pictures; `moments` those of two sets of rows. The others but `versions` speak the
protocol of diff_core::timing: one JSON line when ready, then the work once and one JSON line for
every line of stdin, until it ends. The first answer tells how far its result is from the reference.
"""

import argparse
import contextlib
import hashlib
import json
import pathlib
import sys
import time


def arguments():
    parser = argparse.ArgumentParser()
    modes = ["versions", "forward", "step", "ddim", "pictures", "inception", "fid", "moments", "frechet"]
    parser.add_argument("mode", choices=modes)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--input", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--reference", type=pathlib.Path, help="what ours made of the same input")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="bf16: under autocast")
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="contiguous")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10, help="of DDIM")
    return parser.parse_args()


ARGS = arguments()

import diffusers  # noqa: E402
import numpy  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402


def say(**facts):
    print(json.dumps(facts), flush=True)


def peak_memory():
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else None


def distance(a, b):
    """||a - b|| / ||b||, summed in f64."""
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm())


def layout(x):
    last = ARGS.layout == "channels_last"
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def load():
    model = diffusers.UNet2DModel.from_pretrained(ARGS.model, subfolder="unet", low_cpu_mem_usage=False)
    if ARGS.layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    return model


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16) if ARGS.dtype == "bf16" else contextlib.nullcontext()


def reference(name):
    if ARGS.reference is None:
        return None
    if ARGS.reference.suffix == ".npz":
        return torch.from_numpy(numpy.load(ARGS.reference)[name])
    return load_file(ARGS.reference)[name]


def forward():
    """One forward pass."""
    model = load().eval()
    network = torch.compile(model) if ARGS.compile else model
    inputs = load_file(ARGS.input)
    x, t = layout(inputs["x"]), inputs["network_time"]

    def work():
        with torch.inference_mode(), autocast():
            return network(x, t).sample

    def compare(prediction):
        return {"relative_error": distance(prediction, reference("prediction"))}

    return {}, work, compare


def ddim():
    """DDIM from given latents over evenly spaced times, as diffusers' DDIMPipeline does it."""
    model = load().eval()
    network = torch.compile(model) if ARGS.compile else model
    scheduler = diffusers.DDIMScheduler.from_pretrained(
        ARGS.model, subfolder="scheduler", clip_sample=False, set_alpha_to_one=True, timestep_spacing="leading")
    latents = layout(load_file(ARGS.input)["x"])

    def work():
        x = latents
        scheduler.set_timesteps(ARGS.steps)
        with torch.inference_mode(), autocast():
            for t in scheduler.timesteps:
                x = scheduler.step(network(x, t).sample, t, x, eta=0.0).prev_sample
        return x

    def compare(x):
        return {"relative_error": distance(x, reference("raw"))}

    return {}, work, compare


def step():
    """A training step: draws, the simple loss, clipping, Adam, the average of the weights."""
    model = load()
    network = torch.compile(model) if ARGS.compile else model
    config = json.loads((ARGS.model / "scheduler" / "scheduler_config.json").read_text())
    alpha_bar = diffusers.DDPMScheduler.from_config(config).alphas_cumprod
    inputs = load_file(ARGS.input)
    x0 = layout(inputs["x0"])
    parameters = list(model.parameters())
    # The fastest Adam that torch has for a CPU.
    optimiser = torch.optim.Adam(parameters, lr=2e-4, fused=True)
    average = [p.detach().clone() for p in parameters]

    def loss_of(network, t, noise):
        a = alpha_bar[t][:, None, None, None]
        with autocast():
            predicted = network(a.sqrt() * x0 + (1 - a).sqrt() * noise, t).sample
        return (noise - predicted.float()).square().sum(dim=(1, 2, 3)).mean()

    def given():
        """Loss and gradient norm of the given draws without dropout, for comparison with ours."""
        model.eval()
        loss = loss_of(model, inputs["t"].long() - 1, layout(inputs["noise"][0]))
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        optimiser.zero_grad()
        return {"loss": loss.item(), "grad_norm": norm.item()}

    # A compiled network is another program; its loss would have to be compiled apart.
    facts = {} if ARGS.compile else given()
    model.train()

    def work():
        t = torch.randint(0, len(alpha_bar), (len(x0),))
        loss = loss_of(network, t, torch.randn_like(x0))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - 0.9999)
        return loss.item()

    return facts, work, lambda _: {}


def fid_inception():
    """pytorch-fid's network with the weights of `pictures`, or as torch starts it; nothing is fetched."""
    from unittest import mock

    import pytorch_fid.inception

    with mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *a, **k: {}):
        with mock.patch.object(torch.nn.Module, "load_state_dict", lambda *a, **k: None):
            network = pytorch_fid.inception.fid_inception_v3().eval()
    if ARGS.input is not None:
        network.load_state_dict(torch.load(ARGS.input / "weights.pth"))
    return network


def extractor(resize):
    from unittest import mock

    import pytorch_fid.inception

    network = fid_inception()
    with mock.patch.object(pytorch_fid.inception, "fid_inception_v3", lambda: network):
        return pytorch_fid.inception.InceptionV3([3], resize_input=resize).eval()


def pictures():
    """Weights and picture files."""
    from PIL import Image

    folder = ARGS.output / "pictures"
    folder.mkdir(parents=True)
    weights = ARGS.output / "weights.pth"
    torch.save(fid_inception().state_dict(), weights)
    (ARGS.output / "weights.sha256").write_text(hashlib.sha256(weights.read_bytes()).hexdigest())
    rng = numpy.random.default_rng(0)
    for i in range(64):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=numpy.uint8))
        coarse.resize((256, 256), Image.BICUBIC).save(folder / f"{i:02}.png")


def inception():
    """The network on one batch of 299 x 299."""
    model = extractor(resize=False)
    values = torch.arange(ARGS.batch * 299 * 299 * 3) % 251
    x = layout(values.reshape(ARGS.batch, 299, 299, 3).permute(0, 3, 1, 2).float() / 255)
    if ARGS.layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)

    def work():
        with torch.inference_mode():
            return model(x)[0].flatten(1)

    return {}, work, lambda rows: {"relative_error": distance(rows, reference("features"))}


def fid():
    """pytorch-fid's mean and covariance of the files in a folder."""
    from pytorch_fid.fid_score import calculate_activation_statistics

    model = extractor(resize=True)
    files = sorted((ARGS.input / "pictures").glob("*.png"))

    def work():
        with contextlib.redirect_stdout(sys.stderr):
            return calculate_activation_statistics(files, model, ARGS.batch, 2048, "cpu", ARGS.threads)

    def compare(found):
        return {"relative_error": distance(torch.from_numpy(found[0]), reference("features").mean(0))}

    return {}, work, compare


def moments():
    """Mean and covariance of two sets of rows with as many features: more rows than those, mixed and cut at 0."""
    ARGS.output.mkdir(parents=True)
    rng = numpy.random.default_rng(0)
    d = ARGS.batch
    for name, shift in [("a", 0.0), ("b", 0.3)]:
        mixing = rng.normal(size=(d, d)) / d**0.5 * numpy.geomspace(1, 0.01, d)
        rows = numpy.maximum(rng.normal(size=(2 * d, d)) @ mixing + shift, 0)
        numpy.savez(ARGS.output / f"{name}.npz", mu=rows.mean(0), sigma=numpy.cov(rows, rowvar=False))


def frechet():
    """pytorch-fid's distance of two Gaussians, by scipy's root of a matrix."""
    import warnings

    from pytorch_fid.fid_score import calculate_frechet_distance

    warnings.filterwarnings("ignore", category=DeprecationWarning)
    sides = [numpy.load(ARGS.input / f"{name}.npz") for name in "ab"]
    arrays = [side[key] for side in sides for key in ("mu", "sigma")]

    def work():
        return calculate_frechet_distance(*arrays)

    def compare(found):
        return {"relative_error": distance(torch.tensor([float(found)]), reference("distance"))}

    return {}, work, compare


def main():
    if ARGS.mode == "versions":
        say(python=sys.version.split()[0], torch=torch.__version__, diffusers=diffusers.__version__)
        return
    torch.set_num_threads(ARGS.threads)
    torch.manual_seed(0)
    if ARGS.mode in ("pictures", "moments"):
        {"pictures": pictures, "moments": moments}[ARGS.mode]()
        return
    modes = {
        "forward": forward, "step": step, "ddim": ddim, "inception": inception, "fid": fid, "frechet": frechet,
    }
    facts, work, compare = modes[ARGS.mode]()
    say(ready=True, **facts)
    compared = False
    for _ in sys.stdin:
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        more = compare(result) if not compared else {}
        compared = True
        say(seconds=seconds, peak_rss_bytes=peak_memory(), **more)


main()
