"""The published metrics as their packages take them, for crates/diff-eval/tests/golden_metrics.rs.

    python tests/golden/metrics.py crates/diff-eval/tests/fixtures

Needs numpy, scipy, Pillow, torch, torchvision, pytorch-fid, torch-fidelity and prdc (0.2). Writes `metrics.json`:

- `pictures`: two sets of 32 files each, through FID's Inception with weights by the rule `rectified` of
  fill.py (nothing is downloaded), in the calls a user makes;
- `rows`: the functions behind them, of rows of features that both sides make by one rule, more than fit
  evenly into parts;
- `moments`: pytorch-fid's distance of two Gaussians of 2048 features.
"""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import warnings
from unittest import mock

import numpy as np
import prdc
import pytorch_fid.fid_score
import pytorch_fid.inception
import torch
import torch_fidelity
import torchvision
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from fill import rectified

COUNT, HEIGHT, WIDTH = 32, 40, 32
KID = {"kid_subsets": 12, "kid_subset_size": 20}


def noise(seed, count):
    """Bytes of a linear congruential generator."""
    found = np.empty(count, dtype=np.int64)
    state = seed
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        found[i] = state >> 24
    return found


def picture(kind, i):
    """Grey stripes, or colours that run, under noise of up to 63 levels, the more the greater i."""
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    base = [(x // 4) % 2 * 120 + 20, (y * 4 + c * 25) % 192][kind]
    grain = noise(1000 * kind + i, HEIGHT * WIDTH * 3).reshape(base.shape) % (i % 8 * 8 + 8)
    return (base + grain).astype(np.uint8)


def inception():
    with mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *a, **k: {}):
        with mock.patch.object(torch.nn.Module, "load_state_dict", lambda *a, **k: None):
            network = pytorch_fid.inception.fid_inception_v3().eval()
    network.load_state_dict(rectified(network.state_dict()), strict=False)
    return network


def fid(network, one, other):
    with mock.patch.object(pytorch_fid.inception, "fid_inception_v3", lambda: network):
        return float(pytorch_fid.fid_score.calculate_fid_given_paths([str(one), str(other)], 16, "cpu", 2048, 0))


def spatial_fid(network, folders):
    """sFID, as guided-diffusion defines it: seven channels of one convolution, in pytorch-fid's resizing."""
    kept, rows = [], []
    hook = network.Mixed_6d.branch1x1.register_forward_hook(
        lambda module, inputs, out: kept.append(out[:, :7].permute(0, 2, 3, 1).flatten(1).double().numpy()))
    for folder in folders:
        with mock.patch.object(pytorch_fid.inception, "fid_inception_v3", lambda: network):
            model = pytorch_fid.inception.InceptionV3([3]).eval()
        pytorch_fid.fid_score.get_activations(sorted(folder.glob("*.png")), model, 16, 2048, "cpu", 0)
        rows.append(np.concatenate(kept))
        kept.clear()
    hook.remove()
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in rows]
    return float(pytorch_fid.fid_score.calculate_frechet_distance(*moments[0], *moments[1]))


def features(path, folder):
    extractor = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=path)
    files = sorted(folder.glob("*.png"))
    x = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    return extractor(torch.from_numpy(x))[0].numpy()


def vgg16(scratch, folder):
    """Rows of the first two files, by torch-fidelity's VGG16 with a classifier of 32 numbers instead of 4096."""
    def narrow(**_):
        network = original()
        network.classifier[0] = torch.nn.Linear(25088, 32)
        network.classifier[3] = torch.nn.Linear(32, 32)
        network.classifier[6] = torch.nn.Linear(32, 1000)
        return network

    original = torchvision.models.vgg16
    path = scratch / "vgg16.pth"
    torch.save(rectified(narrow().state_dict()), path)
    with mock.patch.object(torchvision.models, "vgg16", narrow):
        extractor = FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(path))
    x = np.stack([np.asarray(Image.open(folder / f"{i:02}.png")) for i in range(2)]).transpose(0, 3, 1, 2)
    return extractor(torch.from_numpy(x))[0].flatten().tolist()


def pictures(scratch):
    folders = []
    for kind in range(2):
        folder = scratch / f"set{kind}"
        folder.mkdir()
        for i in range(COUNT):
            Image.fromarray(picture(kind, i)).save(folder / f"{i:02}.png")
        folders.append(folder)
    # A split of the first set that goes across its order: by the parity of the ones in its numbers.
    halves = [scratch / "half0", scratch / "half1"]
    for number, half in enumerate(halves):
        half.mkdir()
        for i in range(COUNT):
            if i.bit_count() % 2 == number:
                (half / f"{i:02}.png").write_bytes((folders[0] / f"{i:02}.png").read_bytes())
    network = inception()
    weights = scratch / "weights.pth"
    torch.save(network.state_dict(), weights)
    common = {
        "feature_extractor": "inception-v3-compat", "cuda": False, "cache": False, "verbose": False, "batch_size": 16,
        "feature_extractor_weights_path": str(weights),
    }
    found = {
        "fid": fid(network, *folders),
        "fid_of_halves": fid(network, *halves),
        "sfid": spatial_fid(network, folders),
        "torch_fidelity": torch_fidelity.calculate_metrics(
            input1=str(folders[0]), input2=str(folders[1]), isc=True, fid=True, kid=True, prc=True, isc_splits=5,
            **KID, **common),
        "of_halves": neighbours(*(features(weights, half) for half in halves)),
    }
    found["vgg16"] = vgg16(scratch, folders[1])
    assert found["fid"] > 100 * found["fid_of_halves"], found
    return found


def neighbours(samples, reference):
    """Precision and recall of torch-fidelity, density and coverage of prdc."""
    found = prc_features_to_metric(torch.from_numpy(samples), torch.from_numpy(reference), verbose=False)
    dense = prdc.compute_prdc(reference, samples, nearest_k=5)
    names = {name: float(dense[name]) for name in ["density", "coverage"]}
    return {"precision": found["precision"], "recall": found["recall"], **names}


def rows(seed, count, width, shift):
    """Sums of four bytes, about normal, in 1/64; whole numbers both sides can make."""
    values = noise(seed, count * width * 4).reshape(count, width, 4).sum(2) - 510 + shift
    return (values / 64).astype(np.float32)


def functions():
    samples, reference = rows(1, 230, 24, 60), rows(2, 301, 24, 0)
    logits = rows(3, 203, 10, 0)
    one, other = torch.from_numpy(samples), torch.from_numpy(reference)
    return {
        "isc": isc_features_to_metric(torch.from_numpy(logits), 10, True, 2020),
        "isc_in_order": isc_features_to_metric(torch.from_numpy(logits), 7, False, 2020),
        "kid": kid_features_to_metric(one, other, kid_subsets=25, kid_subset_size=90, verbose=False),
        "neighbours": neighbours(samples, reference),
        "prc_of_5": prc_features_to_metric(one, other, prc_neighborhood=5, verbose=False),
    }


def gaussian(shift):
    """A covariance of full rank: a diagonal that falls off, and eight directions."""
    d = 2048
    i = np.arange(d)
    u = np.stack([np.sin(0.1 * (k + 1) * i + shift + k) for k in range(8)]) * 0.3
    diagonal = 0.05 + np.exp(-i / 300) * (1 + 0.5 * np.cos(0.2 * i + shift))
    return 0.4 + 0.3 * np.sin(0.37 * i + shift), np.diag(diagonal) + u.T @ u


def main(folder):
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        distance = pytorch_fid.fid_score.calculate_frechet_distance(*gaussian(0.0), *gaussian(0.7))
        found = {"pictures": pictures(pathlib.Path(scratch)), "rows": functions(), "moments": float(distance)}
    text = json.dumps(found, indent=1)
    (pathlib.Path(folder) / "metrics.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
