"""Output of ermongroup/ddim's `Model`, for crates/diff-models/tests/golden_ermongroup.rs.

    python tests/golden/ermongroup.py PATH/TO/ermongroup-ddim crates/diff-models/tests/fixtures

The first argument is a checkout of https://github.com/ermongroup/ddim (read at commit e8df66c); its
code is imported, not copied. Weights follow `scatter` of fill.py under the class's own key names;
the state dict of a one-level network
is saved with torch.save as data-parallel training names it (in f16, to keep the fixture small).
"""

import sys
from argparse import Namespace

import torch
from safetensors.torch import save_file

from fill import scatter, wave


def main(repository, folder):
    torch.set_num_threads(1)
    sys.path.insert(0, repository)
    from models.diffusion import Model

    config = Namespace(
        model=Namespace(
            ch=32, out_ch=3, ch_mult=[1, 1, 2], num_res_blocks=1, attn_resolutions=[8], dropout=0.1,
            in_channels=3, resamp_with_conv=True, type="simple"),
        data=Namespace(image_size=16),
        diffusion=Namespace(num_diffusion_timesteps=1000))
    model = Model(config).eval()
    model.load_state_dict(scatter(model.state_dict()))
    with torch.no_grad():
        out = model(wave([2, 3, 16, 16]), torch.tensor([3, 17]))
    save_file({"out": out.contiguous()}, f"{folder}/ermongroup.safetensors")

    small = Namespace(**{**vars(config), "model": Namespace(**{**vars(config.model), "ch_mult": [1], "attn_resolutions": []})})
    model = Model(small).eval()
    state = scatter(model.state_dict())
    torch.save({"module." + key: value.half() for key, value in state.items()}, f"{folder}/ermongroup_small.pth")


if __name__ == "__main__":
    main(*sys.argv[1:])
