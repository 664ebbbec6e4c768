"""Adds the cases of twenty optimiser steps to tests/golden, with and without gradient clipping. PyTorch's float64 results rounded
to float32, as README.md there says.

    python scripts/golden/optimisers.py [tests/golden]        # needs torch, numpy and safetensors
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from extremes import entry

FILE = "ops_optim20.safetensors"
STEPS = 20
STATES = {"SGD": ["momentum_buffer"], "AdamW": ["exp_avg", "exp_avg_sq"]}


def follow(name, given, attrs, clip, dtype, foreach):
    p = torch.nn.Parameter(given["p"].detach().clone().to(dtype))
    optimizer = getattr(torch.optim, name)([p], foreach=foreach, **attrs)
    out = {}
    for step, g in enumerate(given["g"].to(dtype)):
        p.grad = g.clone()
        if clip:
            torch.nn.utils.clip_grad_norm_([p], clip, foreach=foreach)
        optimizer.step()
        out[f"p_{step + 1}"] = p.detach().clone()
    for state in STATES[name]:
        if state in optimizer.state[p]:
            out[f"state_{state}"] = optimizer.state[p][state].clone()
    return out


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden")
    tensors, entries = {}, []
    nesterov = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    adamw = {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.05}
    cases = [
        ("sgd20", "SGD", {"lr": 0.05}, None),
        ("sgd20_nesterov_wd", "SGD", nesterov, None),
        ("adamw20", "AdamW", adamw, None),
        ("sgd20_clip", "SGD", {"lr": 0.05, "momentum": 0.9}, 8.0),
        ("sgd20_nesterov_wd_clip", "SGD", nesterov, 2.0),
        ("adamw20_clip", "AdamW", adamw, 8.0),
    ]
    for seed, (case, name, attrs, clip) in enumerate(cases):
        r = torch.Generator().manual_seed(100 + seed)
        # Gradients of norms from about 1.5 to 30: some are clipped, some are not.
        size = torch.logspace(-0.7, 0.6, STEPS)[torch.randperm(STEPS, generator=r)]
        given = {"p": torch.randn(59, generator=r), "g": torch.randn(STEPS, 59, generator=r) * size[:, None]}
        variants = [follow(name, given, attrs, clip, torch.float32, foreach) for foreach in (False, True)]
        want = follow(name, given, attrs, clip, torch.float64, False)
        shown = {"optimizer": name, "steps": STEPS, **attrs} | ({"clip_grad": clip} if clip else {})
        entries.append(entry(name.lower(), case, shown, given, variants, want, tensors) | {"file": FILE})
    save_file(tensors, folder / FILE)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["ops"] = [o for o in manifest["ops"] if o["file"] != FILE] + entries
    manifest["notes"][FILE] = "twenty steps of SGD and AdamW, with and without gradient clipping"
    path.write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
