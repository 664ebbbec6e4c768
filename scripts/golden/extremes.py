"""Adds the cases of extreme numbers to tests/golden: BatchNorm of means far larger than the spread, and
cross-entropy with logits of minus infinity. PyTorch's float64 results rounded to float32, as README.md there says.

    python scripts/golden/extremes.py [tests/golden]        # needs torch, numpy and safetensors
"""
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

FILE = "ops_extremes.safetensors"


def batch_norm(given, dtype, threads=1):
    torch.set_num_threads(threads)
    x, gamma, beta = (given[n].detach().clone().to(dtype).requires_grad_(True) for n in ("x", "gamma", "beta"))
    mean, var = (given[n].to(dtype).clone() for n in ("running_mean", "running_var"))
    y = F.batch_norm(x, mean, var, gamma, beta, True, MOMENTUM, 1e-5)
    y.backward(given["dy"].to(dtype))
    out = {"y": y, "dx": x.grad, "dgamma": gamma.grad, "dbeta": beta.grad}
    out |= {"running_mean_1": mean.clone(), "running_var_1": var.clone()}
    F.batch_norm(x.detach() * 0.5 + 0.25, mean, var, gamma, beta, True, MOMENTUM, 1e-5)
    return out | {"running_mean_2": mean, "running_var_2": var}


def cross_entropy(given, dtype, smoothing, threads=1):
    torch.set_num_threads(threads)
    logits = given["logits"].detach().clone().to(dtype).requires_grad_(True)
    loss = F.cross_entropy(logits, given["labels"].long(), label_smoothing=smoothing)
    loss.backward()
    return {"loss": loss.reshape(1), "dlogits": logits.grad}


# The running variance is the batch's: nothing dilutes its error.
MOMENTUM = 1.0


def large_mean(ratio, seed):
    """A spread of 1. Numbers of 20 bits, so that x·0.5 + 0.25 is exact."""
    r = torch.Generator().manual_seed(seed)
    n, c, size = 3, 4, 12
    # Images differ, as those of a data set do; every other channel is negative.
    x = torch.randn(n, c, size, size, generator=r) + torch.randn(n, c, 1, 1, generator=r)
    x = ((x + ratio * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None]) * 64).round() / 64
    given = {"x": x, "gamma": torch.rand(c, generator=r) + 0.5, "beta": torch.randn(c, generator=r)}
    given |= {"running_mean": torch.randn(c, generator=r), "running_var": torch.rand(c, generator=r) + 0.5}
    return given | {"dy": torch.randn(n, c, size, size, generator=r)}


def entry(op, case, attrs, given, variants, want, tensors):
    wants = {}
    for name, value in want.items():
        exact = value.detach().float().double()
        tensors[f"{case}/{name}.want"] = exact.float().contiguous()
        if not exact.isfinite().all():
            wants[name] = {"exact": True}
            continue
        errors = [(v[name].detach().double() - exact) for v in variants]
        norm = exact.norm().item() or 1.0
        wants[name] = {
            "torch_max_abs": float(f"{max(e.abs().max().item() for e in errors):.3g}"),
            "torch_rel_l2": float(f"{max(e.norm().item() for e in errors) / norm:.3g}"),
            "ref_max": float(f"{exact.abs().max().item():.3g}"),
        }
    for name, value in given.items():
        tensors[f"{case}/{name}"] = value.contiguous().clone()
    return {"file": FILE, "op": op, "case": case, "attrs": attrs, "inputs": list(given), "wants": wants}


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden")
    tensors, entries = {}, []
    for seed, ratio in enumerate([300, 1000, 10000]):
        given = large_mean(ratio, seed)
        attrs = {"eps": 1e-5, "momentum": MOMENTUM, "training": True}
        variants = [batch_norm(given, torch.float32, threads) for threads in (1, 2)]  # channels_last is worse
        want = batch_norm(given, torch.float64)
        entries.append(entry("batch_norm", f"bn_train_mean{ratio}", attrs, given, variants, want, tensors))
    never = float("-inf")
    logits = torch.tensor([[never, 0, 1], [0.5, never, -2], [never, never, 3], [1, 2, never]])
    given = {"logits": logits, "labels": torch.tensor([1, 0, 2, 1], dtype=torch.uint32)}
    for smoothing in (0.0, 0.1):
        attrs = {"reduction": "mean", "label_smoothing": smoothing}
        variants = [cross_entropy(given, torch.float32, smoothing, threads) for threads in (1, 2)]
        want = cross_entropy(given, torch.float64, smoothing)
        entries.append(entry("cross_entropy", f"ce_never_ls{smoothing}", attrs, given, variants, want, tensors))
    # A right class that can never be: the loss is infinite, the gradient is not.
    given = {"logits": logits, "labels": torch.tensor([0, 0, 2, 1], dtype=torch.uint32)}
    want = cross_entropy(given, torch.float64, 0.0)
    variants = [cross_entropy(given, torch.float32, 0.0)]
    attrs = {"reduction": "mean", "label_smoothing": 0.0}
    entries.append(entry("cross_entropy", "ce_never_right", attrs, given, variants, want, tensors))
    save_file(tensors, folder / FILE)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["ops"] = [o for o in manifest["ops"] if o["file"] != FILE] + entries
    manifest["notes"][FILE] = (
        "batch_norm with means of 300, 1,000 and 10,000 spreads; cross-entropy with logits of minus infinity"
    )
    path.write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
