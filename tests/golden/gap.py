"""SA-DPM's estimation gap along a sampler's trajectory in numpy, for crates/diff-eval/src/gap/tests.rs.

    python tests/golden/gap.py crates/diff-eval/tests/fixtures/gap.json

Needs numpy (written with numpy 2.4.6). A made-up predictor on made-up pictures with made-up noise, by
other formulas than ours: gaps from the two clean pictures, d_t = gamma1_t (x_0 - x0hat), and at eta = 1
the step as a draw from the posterior.
"""

import json
import pathlib
import sys

import numpy as np

T, START, PICTURES, WIDTH = 1000, 30, 3, 5


def predict(x, t):
    return 0.6 * x + 0.2 * np.sin(2 * x + 0.1 * t) + 0.05


def coefficients():
    beta = np.concatenate([[0.0], np.linspace(1e-4, 0.02, T)])
    return beta, np.cumprod(1 - beta)


def walk(x0, forward, steps, eta):
    beta, abar = coefficients()
    x = np.sqrt(abar[START]) * x0 + np.sqrt(1 - abar[START]) * forward
    gap, out = np.zeros_like(x0), []
    residual_means = {}
    for t in range(START, 1, -1):
        eps = predict(x, t)
        guess = (x - np.sqrt(1 - abar[t]) * eps) / np.sqrt(abar[t])
        gamma1 = np.sqrt(abar[t - 1]) * beta[t] / (1 - abar[t])
        gamma2 = np.sqrt(1 - beta[t]) * (1 - abar[t - 1]) / (1 - abar[t])
        own = gamma1 * (x0 - guess)
        gap = own + gamma2 * gap
        residual_means[t] = (eps - (x - np.sqrt(abar[t]) * x0) / np.sqrt(1 - abar[t])).mean(axis=0)
        norms = np.linalg.norm(gap, axis=1)
        out.append({
            "l2": norms.mean(), "rms": np.sqrt((gap**2).mean()), "bias": np.sqrt((gap.mean(axis=0)**2).mean()),
            "mean": gap.mean(), "step": np.linalg.norm(own, axis=1).mean(),
        })
        btilde = beta[t] * (1 - abar[t - 1]) / (1 - abar[t])
        if eta == 1:
            x = gamma1 * guess + gamma2 * x + np.sqrt(btilde) * steps[t]
        else:
            sigma = eta * np.sqrt(btilde)
            x = np.sqrt(abar[t - 1]) * guess + np.sqrt(1 - abar[t - 1] - sigma**2) * eps + sigma * steps[t]
    official = np.zeros(WIDTH)
    for row, t in zip(out, range(START, 1, -1)):
        own = 0.0 if t == START else beta[t] / np.sqrt((1 - beta[t]) * (1 - abar[t])) * residual_means[t]
        official = own + np.sqrt(1 - beta[t]) * (1 - abar[t - 2]) / (1 - abar[t]) * official
        row["official"] = np.sqrt((official**2).mean())
    l2 = [0.0] + [row["l2"] for row in out]
    for row, now, before in zip(out, l2[1:], l2):
        row["velocity"] = now - before
    return {name: [float(row[name]) for row in out] for name in out[0]}


def main(path):
    random = np.random.default_rng(11)
    x0 = random.uniform(-1, 1, (PICTURES, WIDTH)).round(4)
    forward = random.standard_normal((PICTURES, WIDTH)).round(4)
    steps = {t: random.standard_normal((PICTURES, WIDTH)).round(4) for t in range(2, START + 1)}
    fixture = {
        "start": START, "shape": [1, 1, WIDTH], "x0": x0.tolist(), "forward": forward.tolist(),
        "steps": [steps[t].tolist() for t in sorted(steps)],
        "expected": {str(eta): walk(x0, forward, steps, eta) for eta in [0, 0.5, 1]},
    }
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
