"""Trains in PyTorch on the CPU as a run of `resnet train` did: its network, batches, optimiser, schedule, label smoothing and
augmentation, on Fashion-MNIST. Prints a line for each epoch: seconds of training so far, test accuracy. Initial weights and random choices
are PyTorch's own.

    python scripts/train_torch.py runs/first [--threads 2] [--epochs 1] > torch.csv     # needs torch, numpy and safetensors
"""

import argparse
import gzip
import json
import math
import time
import tomllib
from pathlib import Path

import numpy
import torch
from resnet_torch import ResNet
from safetensors import safe_open
from torch.nn import functional as F

DATA = Path("/usr/share/datasets/fashion-mnist")


def images(name):
    with gzip.open(DATA / f"{name}-images-idx3-ubyte.gz") as file:
        pixels = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(DATA / f"{name}-labels-idx1-ubyte.gz") as file:
        labels = numpy.frombuffer(file.read(), numpy.uint8, offset=8)
    return torch.from_numpy(pixels.copy()), torch.from_numpy(labels.astype(numpy.int64))


def rate(config, step, total):
    """The learning rate of a step, as docs/training.md tells it."""
    lr, last, schedule = config["lr"], config["lr_final"], config["schedule"]
    cosine = lambda a, b, part: b + (a - b) * 0.5 * (1 + math.cos(math.pi * part))
    rise = config["warmup"] or (int(0.3 * total) if schedule == "one-cycle" else 0)
    if step < rise:
        return cosine(lr / 25, lr, step / rise) if schedule == "one-cycle" else lr * (step + 1) / rise
    part = (step - rise) / max(total - rise, 1)
    if schedule == "linear":
        return lr + (last - lr) * part
    if schedule in ("cosine", "one-cycle"):
        return cosine(lr, last, part)
    if schedule == "constant":
        return lr
    raise SystemExit(f"the schedule {schedule} is not done here")


def augment(x, config, epoch, side):
    """A batch with what `config` has of mirroring, shifts and erasing."""
    n, _, h, w = x.shape
    shift = config.get("shift", 0)
    if shift:
        padded = F.pad(x, [shift] * 4, value=-config["black"])
        dy, dx = torch.randint(0, 2 * shift + 1, (2, n))
        rows, columns = dy[:, None] + torch.arange(h), dx[:, None] + torch.arange(w)
        x = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if config.get("flip"):
        side = torch.rand(n) < 0.5
    elif config.get("flip_alternating"):
        side = side ^ bool(epoch % 2)
    if config.get("flip") or config.get("flip_alternating"):
        x = torch.where(side[:, None, None, None], x.flip(3), x)
    for i in (torch.rand(n) < config.get("erase", 0)).nonzero().flatten().tolist():
        for _ in range(10):
            area = h * w * (0.02 + 0.31 * torch.rand(()).item())
            ratio = math.exp(math.log(0.3) + torch.rand(()).item() * (math.log(3.3) - math.log(0.3)))
            eh, ew = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if eh < h and ew < w:
                top, left = torch.randint(0, h - eh + 1, ()), torch.randint(0, w - ew + 1, ())
                x[i, :, top : top + eh, left : left + ew] = 0
                break
    if config.get("cutout", 0):
        half, place = config["cutout"] // 2, torch.randint(0, h, (2, n))
        inside = lambda at, size: ((torch.arange(size) >= at[:, None] - half) & (torch.arange(size) < at[:, None] - half + config["cutout"]))
        cut = inside(place[0], h)[:, :, None] & inside(place[1], w)[:, None, :]
        x = x.masked_fill(cut[:, None], 0)
    return x


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--threads", type=int, help="[default: PyTorch's]")
    parser.add_argument("--epochs", type=int, help="stops after so many; the schedule stays that of the run")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    config = tomllib.loads((args.run / "config.toml").read_text())
    with safe_open(args.run / "last" / "weights.safetensors", "pt") as file:
        info = json.loads(file.metadata()["resnet"])
    torch.manual_seed(config["seed"])
    size, batch = config["image_size"], config["batch_size"]
    model = ResNet(info["arch"], size).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            if module.bias is None:
                torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            else:
                torch.nn.init.xavier_uniform_(module.weight)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    decay = config["weight_decay"]
    groups = [
        {"params": weights, "weight_decay": decay, "scale": 1.0},
        {"params": others, "weight_decay": decay if config["decay_all"] else 0.0, "scale": config.get("bias_lr_scale", 1.0)},
    ]
    if config["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=config["momentum"], nesterov=config["nesterov"])
    else:
        optimizer = torch.optim.AdamW(groups, lr=0.1, betas=(config["beta1"], config["beta2"]), eps=config["eps"])
    (train, labels), (test, test_labels) = images("train"), images("t10k")
    mean = torch.tensor(config.get("mean", [0.0])[0] if isinstance(config.get("mean"), list) else config.get("mean", 0.0))
    std = torch.tensor(config.get("std", [1.0])[0] if isinstance(config.get("std"), list) else config.get("std", 1.0))
    config["black"] = (mean / std).item()

    def prepared(pixels):
        x = pixels.float()
        if size != 28:
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
        return (x / 255 - mean) / std

    forward = torch.compile(model) if args.compile else model
    steps = math.ceil(len(train) / batch)
    total, step, seconds = steps * config["epochs"], 0, 0.0
    side = torch.rand(len(train)) < 0.5
    print("epoch,seconds,test_acc", flush=True)
    for epoch in range(args.epochs or config["epochs"]):
        start = time.perf_counter()
        model.train()
        for some in torch.randperm(len(train)).split(batch):
            for group in optimizer.param_groups:
                group["lr"] = rate(config, step, total) * group["scale"]
            x = augment(prepared(train[some]), config, epoch, side[some]).to(memory_format=torch.channels_last)
            loss = F.cross_entropy(forward(x), labels[some], label_smoothing=config["label_smoothing"])
            optimizer.zero_grad()
            loss.backward()
            if config.get("clip_grad"):
                torch.nn.utils.clip_grad_norm_(model.parameters(), config["clip_grad"])
            optimizer.step()
            step += 1
        seconds += time.perf_counter() - start
        model.eval()
        with torch.no_grad():
            right = [(model(prepared(x)).argmax(1) == y).sum() for x, y in zip(test.split(500), test_labels.split(500))]
        print(f"{epoch + 1},{seconds:.1f},{sum(right).item() / len(test):.4f}", flush=True)


if __name__ == "__main__":
    main()
