"""Outputs of all families of networks where norms divide by nearly nothing, for the tests
golden_{adm,dddm,study,unet}.rs of crates/diff-models.

    python tests/golden/faint.py PATH/TO/guided-diffusion PATH/TO/DDDM \
        PATH/TO/DenoisingDiffusionProbabilityModel-ddpm- crates/diff-models/tests/fixtures

Weights follow the rule `faint` of fill.py: what reaches a norm has a variance of about 1e-6, so that what
the norm adds to it decides. Networks and inputs are those of adm.py, dddm.py, study.py and unet.py.
"""

import sys

import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file

import adm
import dddm
import study
import unet
from fill import faint, wave


def outputs(case, model, call):
    """The network's output; `x_bar` and tables that do not learn keep what they are."""
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model.load_state_dict({**model.state_dict(), **faint(weights)})
    times = torch.tensor(case["times"])
    labels = torch.tensor(case["labels"]) if "labels" in case else None
    with torch.no_grad():
        return call(model.eval(), wave(case["shape"]), times, labels).contiguous()


def main(guided_diffusion, dddm_repository, study_repository, folder):
    torch.set_num_threads(1)
    found = {}
    sys.path.insert(0, guided_diffusion)
    from guided_diffusion.unet import UNetModel

    for name in ["plain8x12", "updown16"]:
        case = adm.CASES[name]
        found[f"adm_{name}"] = outputs(case, UNetModel(**case["config"]), lambda m, x, t, y: m(x, t, y))
    sys.path.insert(0, dddm_repository)
    randn = torch.randn
    torch.randn = lambda *size, **other: randn(1) if size[0] == 50000 else randn(*size, **other)
    from DDDM.unet import UNetModel as Dddm

    case = dddm.CASES["cross8x12"]
    model = Dddm(**{k: v for k, v in case["config"].items() if k != "image_size"})
    del model.x_bar
    image = wave(case["shape"], 0.11, 0.5)
    found["dddm_cross8x12"] = outputs(case, model, lambda m, x, t, y: m(x, t, context=image, y=y))
    for name, case in study.CASES.items():
        model = study.build(study_repository, case["config"])
        call = lambda m, x, t, y: m(x, t) if y is None else m(x, t, y)
        found[f"study_{name}"] = outputs(case, model, call)
    for name in ["grey28", "classes12x20"]:
        case = unet.CASES[name]
        call = lambda m, x, t, y: m(x, t, class_labels=y).sample
        found[f"unet_{name}"] = outputs(case, UNet2DModel(**case["config"]), call)
    save_file(found, f"{folder}/faint.safetensors")
    print({name: (list(v.shape), float(v.abs().mean())) for name, v in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
