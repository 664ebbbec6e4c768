"""The chapter's ResNet-18 in PyTorch on the CPU: prints the median examples per second of some steps, and the peak
memory, as one JSON object. `scripts/bench_peers.sh` runs it beside `resnet bench`."""

import argparse
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Conv2d(c_in, c_out, 1, stride) if c_in != c_out else nn.Identity()

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def resnet18():
    layers = [nn.Conv2d(1, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    c_in = 64
    for c_out in [64, 128, 256, 512]:
        layers += [Residual(c_in, c_out, 1 if c_in == c_out else 2), Residual(c_out, c_out)]
        c_in = c_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()

    torch.manual_seed(0)
    model = resnet18().to(memory_format=torch.channels_last)
    model.train(args.mode == "train")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    forward = torch.compile(model) if args.compile else model
    x = torch.rand(args.batch_size, 1, args.image_size, args.image_size)
    x = x.to(memory_format=torch.channels_last)
    labels = torch.arange(args.batch_size) % 10
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16)

    def step():
        if args.mode == "infer":
            with torch.no_grad(), autocast:
                return forward(x).sum().item()
        with autocast:
            loss = F.cross_entropy(forward(x).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    seconds = []
    for _ in range(args.warmup + args.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[args.warmup :])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"examples_per_second": args.batch_size / median, "peak_memory_bytes": peak}))


main()
