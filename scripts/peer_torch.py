"""A network of the ResNet family in PyTorch on the CPU, by default the chapter's ResNet-18: prints the median examples per
second of some steps of training and of inference, and the peak memory of training, as one JSON object. `scripts/bench_peers.sh` runs it beside `resnet bench`."""

import argparse
import json
import resource
import statistics
import time

import torch
from resnet_torch import RESNET18, ResNet
from torch.nn import functional as F

# Blocks per stage of Table 1 of He et al. 2015, as `resnet --arch` names them.
BLOCKS = {"18": [2, 2, 2, 2], "34": [3, 4, 6, 3], "50": [3, 4, 6, 3], "101": [3, 4, 23, 3], "152": [3, 8, 36, 3]}


def describe(name):
    """The description of a network that `resnet bench --arch` builds."""
    number = name.removeprefix("resnet")
    small = number not in BLOCKS
    blocks = [(int(number) - 2) // 6] * 3 if small else BLOCKS[number]
    stages = [{"blocks": n, "width": (16 if small else 64) << i} for i, n in enumerate(blocks)]
    arch = RESNET18 | {"stages": stages, "stem": stages[0]["width"]}
    if small:
        arch |= {"stem_kind": "cifar"}
    if small or int(number) >= 50:
        arch |= {"conv_bias": False, "shortcut_bn": True, "block": "basic" if small else "bottleneck"}
    return arch


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, help="[default: PyTorch's]")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--nchw", action="store_true", help="PyTorch's default layout instead of channels_last")
    args = parser.parse_args()

    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    layout = torch.contiguous_format if args.nchw else torch.channels_last
    model = ResNet(describe(args.arch)).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    forward = torch.compile(model) if args.compile else model
    x = torch.rand(args.batch_size, 1, args.image_size, args.image_size)
    x = x.to(memory_format=layout)
    labels = torch.arange(args.batch_size) % 10
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16)

    def step(train):
        if not train:
            with torch.no_grad(), autocast:
                return forward(x).sum().item()
        with autocast:
            loss = F.cross_entropy(forward(x).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def rate(train):
        model.train(train)
        seconds = []
        for _ in range(args.warmup + args.steps):
            start = time.perf_counter()
            step(train)
            seconds.append(time.perf_counter() - start)
        return args.batch_size / statistics.median(seconds[args.warmup :])

    report = {"train": rate(True)}
    report["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(report | {"infer": rate(False)}))


main()
