"""Fréchet distances of pytorch-fid, for crates/diff-eval/tests/frechet.rs.

    python tests/golden/frechet.py crates/diff-eval/tests/fixtures/frechet.json

Needs numpy, scipy and pytorch-fid (written with numpy 2.4.6, scipy 1.17.1, pytorch-fid 0.3.0).
Writes the moments of a few pairs of sample sets, as pytorch-fid takes them, and the distance its
`calculate_frechet_distance` gives.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
from pytorch_fid.fid_score import calculate_frechet_distance

warnings.filterwarnings("ignore", category=DeprecationWarning)


def rows(rng, n, d, spread, shift):
    """n rows with a random mixing, so that no two sets have axes in common; ReLU keeps half."""
    mixing = rng.normal(size=(d, d)) * np.geomspace(1, spread, d)
    return np.maximum(rng.normal(size=(n, d)) @ mixing + shift, 0)


def moments(x):
    return {"count": len(x), "mean": np.mean(x, axis=0).tolist(), "covariance": np.cov(x, rowvar=False).ravel().tolist()}


def case(name, a, b):
    ours, theirs = moments(a), moments(b)
    d = a.shape[1]
    square = lambda m: np.array(m["covariance"]).reshape(d, d)
    value = calculate_frechet_distance(np.array(ours["mean"]), square(ours), np.array(theirs["mean"]), square(theirs))
    return {"name": name, "a": ours, "b": theirs, "frechet": float(value)}


def main(path):
    rng = np.random.default_rng(7)
    far = rows(rng, 500, 12, 0.3, 0.5), rows(rng, 400, 12, 0.3, 0.2)
    wide = rows(rng, 900, 12, 0.01, 0.1), rows(rng, 900, 12, 0.01, 0.1)
    base = rows(rng, 1000, 6, 0.5, 0.3)
    cases = [
        case("far apart", *far),
        case("directions of very different spread", *wide),
        case("two halves of one set", base[::2], base[1::2]),
    ]
    pathlib.Path(path).write_text(json.dumps(cases, indent=None) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
