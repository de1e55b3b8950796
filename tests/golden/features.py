"""What the networks of published metrics make of pictures, for
crates/diff-models/tests/golden_features.rs.

    python tests/golden/features.py crates/diff-models/tests/fixtures

Needs torchvision, pytorch-fid, torch-fidelity, lpips and piq (0.8.0). Weights follow the rule `rectified`
of fill.py, over the names of torchvision and of lpips' heads; nothing is downloaded. Of every result there
are its norm and up to 256 of its numbers, evenly spaced.
"""

import contextlib
import io
import json
import sys
import tempfile
import warnings
from unittest import mock

import lpips
import piq
import pytorch_fid.inception
import torch
import torchvision
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from fill import rectified, wave

MANY = 256


def some(tensors):
    """Norm and some numbers of every tensor."""
    kept = {}
    for name, value in tensors.items():
        value = value.detach().flatten()
        stride = -(-value.numel() // MANY)
        kept[f"norm.{name}"] = value.double().norm().float().reshape(1)
        kept[f"some.{name}"] = value[::stride].contiguous()
    return kept


def bytes_of(shape):
    """Pictures of whole numbers between 0 and 255."""
    return ((wave(shape) + 1) * 127.5).to(torch.uint8)


def inception():
    """torch-fidelity's network with its own taps; pytorch-fid's at another size, and the spatial tap."""
    with mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *a, **k: {}):
        with mock.patch.object(torch.nn.Module, "load_state_dict", lambda *a, **k: None):
            network = pytorch_fid.inception.fid_inception_v3().eval()
    weights = rectified(network.state_dict())
    network.load_state_dict(weights, strict=False)
    spatial = {}
    keep = lambda module, inputs, out: spatial.update(out=out)
    network.Mixed_6d.branch1x1.register_forward_hook(keep)
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(network.state_dict(), file.name)
        extractor = FeatureExtractorInceptionV3(
            "inception", list(FeatureExtractorInceptionV3.get_provided_features_list()),
            feature_extractor_weights_path=file.name)
    shape = [1, 3, 299, 299]
    names = FeatureExtractorInceptionV3.get_provided_features_list()
    yield "inception299", shape, dict(zip(names, extractor(bytes_of(shape))))
    with mock.patch.object(pytorch_fid.inception, "fid_inception_v3", lambda: network):
        blocks = pytorch_fid.inception.InceptionV3(
            (0, 1, 2, 3), resize_input=False, normalize_input=False).eval()
    shape = [2, 3, 139, 171]
    maps = blocks(bytes_of(shape).float() / 127.5 - 1)
    rows = {str(value.shape[1]): value.mean((2, 3)) for value in maps}
    rows["spatial"] = spatial["out"][:, :7].permute(0, 2, 3, 1).flatten(1)
    rows["logits"] = network.fc(rows["2048"])
    yield "inception139x171", shape, rows


def normalised(x):
    """As torchvision's networks were trained, from [-1, 1]."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((x + 1) / 2 - mean[:, None, None]) / std[:, None, None]


def stack(features, taps, x):
    found, x = {}, normalised(x)
    for number, module in enumerate(features):
        x = module(x)
        if number in taps:
            found[taps[number]] = x.permute(0, 2, 3, 1).clone()
    return found, x


def torchvision_networks():
    cases = {
        "vgg16": (torchvision.models.vgg16, {3: "relu1_2", 8: "relu2_2", 15: "relu3_3", 22: "relu4_3", 29: "relu5_3"}),
        "alexnet": (torchvision.models.alexnet, {1: "relu1", 4: "relu2", 7: "relu3", 9: "relu4", 11: "relu5"}),
        "squeezenet": (
            torchvision.models.squeezenet1_1,
            {1: "relu1", 4: "relu2", 7: "relu3", 9: "relu4", 10: "relu5", 11: "relu6", 12: "relu7"}),
    }
    for name, (build, taps) in cases.items():
        features = build(weights=None).eval().features
        names = {f"features.{key}": value for key, value in features.state_dict().items()}
        filled = rectified(names)
        features.load_state_dict({key.removeprefix("features."): value for key, value in filled.items()})
        for shape in [[2, 3, 64, 96], [1, 3, 67, 83]]:
            yield f"{name}_{shape[2]}x{shape[3]}", shape, stack(features, taps, wave(shape))[0]
    vgg = torchvision.models.vgg16(weights=None).eval()
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    # Narrower than the original's 4096, for the sake of memory.
    vgg.classifier = torch.nn.Sequential(
        linear(25088, 48), relu(), torch.nn.Dropout(), linear(48, 48), relu(), torch.nn.Dropout(), linear(48, 1000)).eval()
    vgg.load_state_dict(rectified(vgg.state_dict()))
    shape = [2, 3, 224, 224]
    rows = vgg.avgpool(vgg.features(normalised(wave(shape)))).flatten(1)
    found = {}
    for number, module in enumerate(vgg.classifier):
        rows = module(rows)
        found |= {name: rows for at, name in {1: "fc1", 4: "fc2", 6: "logits"}.items() if at == number}
    yield "vgg16_classifier", shape, found


def heads(widths):
    return {f"lin{i}.model.1.weight": torch.empty(1, width, 1, 1) for i, width in enumerate(widths)}


def differentiated(distance, shape):
    """The distance and its gradient, in f64: pooling and ReLU choose, and rounding can change a choice."""
    if isinstance(distance, torch.nn.Module):
        distance.double()
    x = wave(shape).double().requires_grad_()
    found = distance(x, wave(shape, 0.13, 0.5).double()).flatten()
    found.sum().backward()
    return {"distance": found.float(), "gradient": x.grad.float()}


def distances():
    builds = {"vgg": torchvision.models.vgg16, "alex": torchvision.models.alexnet, "squeeze": torchvision.models.squeezenet1_1}
    for name, build in builds.items():
        with contextlib.redirect_stdout(io.StringIO()):
            network = lpips.LPIPS(net=name, pretrained=False, pnet_rand=True)
        own = {f"features.{key}": value for key, value in build(weights=None).features.state_dict().items()}
        filled = rectified(own | heads(network.chns))
        for key in network.state_dict():
            if key.startswith("net.slice"):
                filled[key] = filled["features." + key.split(".", 2)[2]]
            if key.startswith("lins."):
                filled[key] = filled["lin" + key.removeprefix("lins.")]
        loaded = network.load_state_dict(filled, strict=False)
        assert set(loaded.missing_keys) <= {"scaling_layer.shift", "scaling_layer.scale"}, loaded
        for shape in [[2, 3, 64, 96], [1, 3, 67, 83]]:
            yield f"lpips_{name}_{shape[2]}x{shape[3]}", shape, differentiated(network, shape)


def averaged():
    """DDDM's distance: piq's, of pictures resized to 224 x 224 if they are narrower than 256."""
    vgg = torchvision.models.vgg16(weights=None)
    own = {f"features.{key}": value for key, value in vgg.features.state_dict().items()}
    filled = rectified(own | heads([64, 128, 256, 512, 512]))
    vgg.features.load_state_dict({key.removeprefix("features."): filled[key] for key in own})
    weights = [filled[f"lin{i}.model.1.weight"] for i in range(5)]
    with mock.patch.object(torch.hub, "load_state_dict_from_url", lambda *a, **k: weights):
        with mock.patch.object(piq.perceptual, "vgg16", lambda **k: vgg):
            network = piq.LPIPS(replace_pooling=True, reduction="none").eval()
    for shape in [[2, 3, 32, 32], [1, 3, 48, 256]]:
        def distance(x, y):
            pair = [(x + 1) / 2, (y + 1) / 2]
            if shape[3] < 256:
                pair = [torch.nn.functional.interpolate(v, 224, mode="bilinear", align_corners=False) for v in pair]
            return network(*pair)

        yield f"lpips_piq_{shape[2]}x{shape[3]}", shape, differentiated(distance, shape)


def main(folder):
    torch.set_num_threads(2)
    warnings.filterwarnings("ignore")
    for cases in [inception(), torchvision_networks(), distances(), averaged()]:
        for name, shape, tensors in cases:
            about = {"shape": json.dumps(shape)}
            save_file(some(tensors), f"{folder}/features_{name}.safetensors", metadata=about)
            print(name, {key: (list(v.shape), f"{v.detach().abs().mean():.3g}") for key, v in tensors.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
