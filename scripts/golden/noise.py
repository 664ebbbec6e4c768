"""Measures how far PyTorch's own float32 is from its float64 in every tensor of the golden networks, over variants
that a right implementation may choose between, and writes it to manifest.json as `torch.noise`.

    python scripts/golden/noise.py [tests/golden [FILE…]]        # needs torch, numpy and safetensors; only these files

Each variant runs in a process of its own: some of PyTorch's kernels crash on narrow networks, and are left out.
"""
import json
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

STEPS = [("init", "after1", 0), ("ckpt4", "after5", 4)]
VARIANTS = [{}, {"threads": 2}, {"channels_last": True}, {"onednn": False}, {"manual": True}, {"flip": True}]
VARIANTS += [{"order": i} for i in range(3)] + [{"permute": i} for i in range(3)] + [{"jitter": i} for i in range(4)]


class Jitter(torch.autograd.Function):
    """Changes every number by up to one unit roundoff of float32, forwards and backwards."""

    @staticmethod
    def forward(ctx, x, gen):
        ctx.gen = gen
        return jittered(x, gen)

    @staticmethod
    def backward(ctx, g):
        return jittered(g, ctx.gen), None


def jittered(x, gen):
    return x * (1 + 2**-24 * (2 * torch.rand(x.shape, dtype=x.dtype, generator=gen) - 1))


class Net:
    def __init__(self, entry, params, variant):
        self.e, self.p, self.v, self.stats = entry, params, variant, {}
        self.gen = torch.Generator().manual_seed(variant.get("permute", variant.get("jitter", 0)))

    def noisy(self, x):
        return Jitter.apply(x, self.gen) if "jitter" in self.v else x

    def conv(self, name, x, stride, pad):
        w, b = self.p[name + ".weight"], self.p.get(name + ".bias")
        if "permute" in self.v:
            order = torch.randperm(w.shape[1], generator=self.gen)
            x, w = x[:, order], w[:, order]
        if "flip" in self.v:
            x, w = (t.transpose(2, 3).contiguous() for t in (x, w))
            return F.conv2d(x, w, b, stride, pad).transpose(2, 3)
        return self.noisy(F.conv2d(x, w, b, stride, pad))

    def bn(self, name, x):
        gamma, beta, mean, var = (self.p[f"{name}.{t}"] for t in ("weight", "bias", "running_mean", "running_var"))
        with torch.no_grad():
            self.stats[name + ".running_mean"] = mean * 0.9 + 0.1 * x.mean((0, 2, 3))
            self.stats[name + ".running_var"] = var * 0.9 + 0.1 * x.var((0, 2, 3), unbiased=True)
        if "manual" not in self.v:
            return self.noisy(F.batch_norm(x, None, None, gamma, beta, True, 0.1, 1e-5))
        mean = x.mean((0, 2, 3), keepdim=True)
        scale = gamma[:, None, None] * torch.rsqrt(((x - mean) ** 2).mean((0, 2, 3), keepdim=True) + 1e-5)
        return x * scale + (beta[:, None, None] - mean * scale)

    def shortcut(self, name, x, c, stride):
        if stride == 1 and x.shape[1] == c:
            return x
        y = self.conv(name + ".downsample.0", x, stride, 0)
        return self.bn(name + ".downsample.1", y) if self.e["shortcut_bn"] else y

    def block(self, n, x, c, s):
        kind = self.e["block"]
        if kind == "Basic":
            y = F.relu(self.bn(n + ".bn1", self.conv(n + ".conv1", x, s, 1)))
            y = self.bn(n + ".bn2", self.conv(n + ".conv2", y, 1, 1))
            return F.relu(y + self.shortcut(n, x, c, s))
        if kind == "Bottleneck":
            y = F.relu(self.bn(n + ".bn1", self.conv(n + ".conv1", x, 1, 0)))
            y = F.relu(self.bn(n + ".bn2", self.conv(n + ".conv2", y, s, 1)))
            y = self.bn(n + ".bn3", self.conv(n + ".conv3", y, 1, 0))
            return F.relu(y + self.shortcut(n, x, 4 * c, s))
        out = 4 * c if kind == "PreActBottleneck" else c
        a = F.relu(self.bn(n + ".bn1", x))
        projects = s != 1 or x.shape[1] != out
        shortcut = self.shortcut(n, a if projects else x, out, s)
        if kind == "PreActBottleneck":
            y = F.relu(self.bn(n + ".bn2", self.conv(n + ".conv1", a, 1, 0)))
            y = F.relu(self.bn(n + ".bn3", self.conv(n + ".conv2", y, s, 1)))
            return self.conv(n + ".conv3", y, 1, 0) + shortcut
        y = F.relu(self.bn(n + ".bn2", self.conv(n + ".conv1", a, s, 1)))
        return self.conv(n + ".conv2", y, 1, 1) + shortcut

    def run(self, x):
        cifar = self.e.get("stem_kind") == "cifar"
        y = self.conv("conv1", x, 1, 1) if cifar else self.conv("conv1", x, 2, 3)
        out = {"act/conv1": y}
        if not self.e["block"].startswith("PreAct"):
            y = F.relu(self.bn("bn1", y))
        if not cifar:
            y = F.max_pool2d(y, 3, 2, 1)
        for i, (blocks, c) in enumerate(zip(self.e["layers"], self.e["widths"])):
            for j in range(blocks):
                y = self.block(f"layer{i + 1}.{j}", y, c, 2 if i and not j else 1)
            out[f"act/layer{i + 1}"] = y
        if self.e["block"].startswith("PreAct"):
            y = F.relu(self.bn("bn_last", y))
        y = F.linear(y.mean((2, 3)), self.p["fc.weight"], self.p["fc.bias"])
        return y, out | {"logits": y}


def step(entry, tensors, group, to, number, dtype, variant):
    batch = entry["batch"]
    order = torch.arange(batch)
    if "order" in variant:
        order = torch.randperm(batch, generator=torch.Generator().manual_seed(variant["order"]))
    index = number % entry["batches"] * batch + order
    x = tensors["images_u8"][index].to(dtype) / 255
    x = x[:, None] if x.ndim == 3 else x
    params = {k.split("/", 1)[1]: v.to(dtype) for k, v in tensors.items() if k.startswith(group + "/")}
    if "channels_last" in variant:
        x = x.contiguous(memory_format=torch.channels_last)
        last = {k: v.contiguous(memory_format=torch.channels_last) for k, v in params.items() if v.ndim == 4}
        params |= last
    trained = entry["parameter_names"]
    for name in trained:
        params[name] = params[name].detach().clone().requires_grad_(True)
    net = Net(entry, params, variant)
    logits, outputs = net.run(x)
    loss = F.cross_entropy(logits, tensors["labels"][index].long())
    loss.backward()
    out = {k: v[torch.argsort(order)] for k, v in outputs.items()}
    for name in trained:
        out["grad/" + name] = params[name].grad
        out[f"{to}/{name}"] = params[name] - torch.tensor(entry["lr"], dtype=dtype) * params[name].grad
    out |= {f"{to}/{name}": v for name, v in net.stats.items()}
    out[f"losses[{number}]"] = loss.reshape(1)
    return {k: v.detach().double() for k, v in out.items()}


def errors(entry, tensors, variant):
    """Relative L2 errors; of what a step changes, relative to the change. Absolute ones where the gradient is zero."""
    torch.set_num_threads(variant.get("threads", 1))
    torch.backends.mkldnn.set_flags(variant.get("onednn", True))
    found = {}
    for group, to, number in STEPS:
        exact = step(entry, tensors, group, to, number, torch.float64, {})
        single = step(entry, tensors, group, to, number, torch.float32, variant)
        for name, want in exact.items():
            if group == "ckpt4" and not name.startswith((to, "losses")):
                continue
            kind, _, param = name.partition("/")
            zero = param in entry["zero_gradient_names"]
            scale = want
            if kind == to:
                scale = want - tensors[f"{group}/{param}"].double()
            if kind != "losses":
                want = want.float().double()
            error = single[name] - want
            found[name] = error.abs().max().item() if zero else error.norm().item() / scale.norm().item()
    return found


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if len(sys.argv) > 2 and sys.argv[2].isdigit():
        entry = manifest["networks"][int(sys.argv[2])]
        print(json.dumps(errors(entry, load_file(folder / entry["file"]), json.loads(sys.argv[3]))), flush=True)
        return
    for number, entry in enumerate(manifest["networks"]):
        if len(sys.argv) > 2 and entry["file"] not in sys.argv[2:]:
            continue
        noise, ran = {}, 0
        for variant in VARIANTS:
            command = [sys.executable, __file__, str(folder), str(number), json.dumps(variant)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            if not done.stdout.endswith(b"}\n"):
                print(f"{entry['file']}: {variant} crashed")
                continue
            ran += 1
            for name, error in json.loads(done.stdout).items():
                noise[name] = max(noise.get(name, 0.0), error)
        entry["torch"]["noise"] = {name: float(f"{error:.2g}") for name, error in noise.items()}
        print(f"{entry['file']}: {ran} variants")
    path.write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
