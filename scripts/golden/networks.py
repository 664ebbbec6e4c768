"""Adds golden networks to tests/golden: a pre-activation bottleneck, and basic blocks behind the 3×3 stem. PyTorch's
float64 results rounded to float32, as README.md there says.

    python scripts/golden/networks.py [tests/golden]        # needs torch, numpy and safetensors; then noise.py
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from resnet_torch import ResNet

# Of seeds whose values lie near no kink of a ReLU, so that the bounds are tight.
NETWORKS = [
    {
        "seed": 1,
        "file": "net_preact_bottleneck.safetensors",
        "block": "PreActBottleneck",
        "layers": [2, 1],
        "widths": [4, 8],
        "stem": 4,
        "conv_bias": True,
        "in_channels": 1,
        "shortcut_bn": False,
    },
    {
        "seed": 2,
        "file": "net_resnet_cifar.safetensors",
        "block": "Basic",
        "layers": [1, 2, 1],
        "widths": [4, 8, 12],
        "stem": 4,
        "stem_kind": "cifar",
        "conv_bias": False,
        "in_channels": 3,
        "shortcut_bn": True,
    },
]
BLOCKS = {"Basic": "basic", "PreActBottleneck": "pre_act_bottleneck"}
COMMON = {"classes": 10, "batch": 8, "size": 20, "lr": 0.05, "optimizer": "plain SGD", "batches": 5}


def module(entry):
    stages = [{"blocks": b, "width": w} for b, w in zip(entry["layers"], entry["widths"], strict=True)]
    same = ("in_channels", "classes", "stem", "conv_bias", "shortcut_bn")
    arch = {name: entry[name] for name in same} | {"block": BLOCKS[entry["block"]], "stages": stages}
    return ResNet(arch | {"stem_kind": entry.get("stem_kind", "imagenet")}, entry["size"])


def images(entry, count, r):
    """Smooth patterns, as pictures are, that tell the classes apart."""
    labels = torch.randint(entry["classes"], (count,), generator=r)
    coarse = torch.randn(entry["classes"], entry["in_channels"], 5, 5, generator=r)
    noise = torch.randn(count, entry["in_channels"], 5, 5, generator=r)
    smooth = F.interpolate(coarse[labels] + noise, entry["size"], mode="bicubic")
    pixels = (smooth * 50 + 100 + 8 * torch.randn(smooth.shape, generator=r)).clamp(0, 255).byte()
    return (pixels[:, 0] if entry["in_channels"] == 1 else pixels), labels


def batch(entry, tensors, number):
    first = number % entry["batches"] * entry["batch"]
    index = slice(first, first + entry["batch"])
    x = tensors["images_u8"][index].double() / 255
    return (x[:, None] if x.ndim == 3 else x), tensors["labels"][index].long()


def state(model):
    """The weights as float32."""
    values = model.state_dict().items()
    return {name: v.detach().float().clone() for name, v in values if not name.endswith("num_batches_tracked")}


def step(model, entry, x, labels):
    """A step of plain gradient descent; gives the loss, the outputs and the gradients."""
    outputs = {}
    names = ["conv1", *model.stages]
    hooks = [
        model.get_submodule(n).register_forward_hook(lambda m, i, y, n=n: outputs.__setitem__(f"act/{n}", y.detach()))
        for n in names
    ]
    model.train().zero_grad()
    logits = model(x)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    for hook in hooks:
        hook.remove()
    outputs["logits"] = logits.detach()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p -= entry["lr"] * p.grad
    return loss.item(), outputs, gradients


def case(entry, seed):
    r = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = module(entry).double()
    tensors = {}
    tensors["images_u8"], labels = images(entry, entry["batch"] * entry["batches"], r)
    tensors["labels"] = labels.to(torch.uint32)
    tensors["eval_images_u8"], _ = images(entry, 8, r)
    for name, p in model.named_parameters():
        # BatchNorms of their own, so that each counts.
        if p.ndim == 1:
            p.data = torch.randn(p.shape, generator=r).double() * 0.2 + (1 if "bias" not in name else 0)
    model.load_state_dict({k: v.float() for k, v in model.state_dict().items()})  # exact in float32
    losses = torch.zeros(20, dtype=torch.float64)

    def keep(group, suffix=""):
        tensors.update({f"{group}/{name}{suffix}": v for name, v in state(model).items()})

    for number in range(20):
        if number in (0, 4):
            model.load_state_dict(state(model) | counters(model))  # what the file will say
            keep("init" if number == 0 else "ckpt4")
        losses[number], outputs, gradients = step(model, entry, *batch(entry, tensors, number))
        if number == 0:
            tensors.update({f"{name}.want": v.float() for name, v in outputs.items()})
            tensors.update({f"grad/{name}.want": v.float() for name, v in gradients.items()})
            zero = [name for name, v in gradients.items() if v.abs().max() < 1e-12]
        if number in (0, 4):
            keep("after1" if number == 0 else "after5", ".want")
    model.load_state_dict(state(model) | counters(model))
    keep("after20")
    x = tensors["eval_images_u8"].double() / 255
    x = x[:, None] if x.ndim == 3 else x
    with torch.no_grad():
        want = model.eval()(x)
        single = module(entry)
        single.load_state_dict(model.state_dict())
        error = (single.eval()(x.float()).double() - want).abs().max().item()
    tensors["eval_logits_after20.want"] = want.float()
    tensors["losses.want"] = losses
    names = [name for name, _ in model.named_parameters()]
    start = {k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith("init/")}
    # One float32 step for the bound of the logits; noise.py measures the rest.
    single = module(entry)
    single.load_state_dict(start | counters(single))
    x, labels = batch(entry, tensors, 0)
    _, outputs, gradients = step(single, entry, x.float(), labels)
    logits = (outputs["logits"].double() - tensors["logits.want"].double()).abs().max().item()
    worst = max(relative(gradients[n], tensors[f"grad/{n}.want"]) for n in names if n not in zero)
    entry |= {
        "params": sum(p.numel() for p in model.parameters()),
        "parameter_names": names,
        "zero_gradient_names": zero,
        "torch": {
            "logits_max_abs": rounded(max(logits, 1e-7)),
            "eval_logits_after20_max_abs": rounded(max(error, 1e-7)),
            "grad_worst_rel_l2": rounded(worst),
        },
    }
    return {name: t.contiguous() for name, t in tensors.items()}


def counters(model):
    return {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}


def relative(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm()).item()


def rounded(number):
    return float(f"{number:.3g}")


def main():
    torch.set_num_threads(1)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    made = []
    for network in NETWORKS:
        entry = network | COMMON
        save_file(case(entry, entry.pop("seed")), folder / entry["file"])
        made.append(entry)
        print(entry["file"], entry["params"], entry["torch"])
    files = [entry["file"] for entry in made]
    manifest["networks"] = [e for e in manifest["networks"] if e["file"] not in files] + made
    path.write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
