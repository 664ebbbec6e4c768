"""Runs `resnet bench --device cpu` and `peer_torch.py` in turns and prints the ratio of their medians; PyTorch counts
with the faster of eager and compiled, or of two layouts. `scripts/bench_peers.sh` calls it with the number of rounds, and
perhaps with a part of the names of the cases."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

# Name, image size, batch size, environment of ours and of PyTorch, whether PyTorch's autocast takes bfloat16, and our
# products and activations are of it.
CASES = [
    ("96×96, batch 256", 96, 256, {}, {}, False),
    ("96×96, batch 32", 96, 32, {}, {}, False),
    ("28×28, batch 256", 28, 256, {}, {}, False),
    ("96×96, batch 256, AVX2", 96, 256, {"RESNET_CPU_ISA": "avx2"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
    ("96×96, batch 256, bf16", 96, 256, {}, {}, True),
]
# The family: name, image size, batch size. PyTorch compiles the deep ones for minutes; here it runs eagerly, with its
# channels last and first.
FAMILY = [
    ("resnet18", 96, 16),
    ("resnet34", 96, 16),
    ("resnet50", 96, 16),
    ("resnet50", 96, 64),
    ("resnet50", 224, 8),
    ("resnet101", 96, 8),
    ("resnet152", 96, 8),
    ("resnet20", 28, 256),
    ("resnet110", 28, 64),
]
BINARY = os.environ.get("RESNET_PEERS_BINARY", "target/release/resnet")
# Of both; by default all cores. With one thread speeds are those of a second of the thread's own time, so that what else
# runs on the machine counts less.
THREADS = os.environ.get("RESNET_PEERS_THREADS")
STEPS = os.environ.get("RESNET_PEERS_STEPS", "5")


def run(command, environment):
    """The report of a command, and the share of its time that it had a core, if it has one thread."""
    # A variable of the tester's own must not change what is compared.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RESNET_", "ONEDNN_"))}
    command += ["--threads", THREADS] if THREADS else []
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=clean | environment, check=True, stdout=subprocess.PIPE)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), busy / seconds if THREADS == "1" else 1


def ours(size, batch, environment, bf16, arch="resnet18"):
    command = [BINARY, "bench", "--device", "cpu", "--json", "--steps", STEPS, "--arch", arch]
    command += ["--matmul-precision", "medium", "--precision", "bf16"] * bf16
    report, share = run(command + ["--image-size", str(size), "--batch-size", str(batch)], environment)
    rate = lambda part: report[part]["examples_per_second"] / share
    return {"train": rate("train"), "infer": rate("infer"), "memory": report["peak_memory_bytes"]}


def torch(size, batch, environment, bf16, *flags):
    command = [sys.executable, "scripts/peer_torch.py", "--steps", STEPS, *flags]
    command += ["--image-size", str(size), "--batch-size", str(batch)]
    report, share = run(command + ["--bf16"] * bf16, environment)
    return report | {what: report[what] / share for what in ["train", "infer"]}


def compare(name, rounds, *who):
    """Runs ours and two peers in turns."""
    results = [[] for _ in who]
    for _ in range(rounds):
        for measure, of in zip(who, results):
            of.append(measure())
    for what in ["train", "infer", "memory"]:
        scale = 2**20 if what == "memory" else 1
        medians = [statistics.median(r[what] for r in of) / scale for of in results]
        best = (min if what == "memory" else max)(medians[1:])
        columns = "{:8.1f} {:8.1f} {:9.1f}".format(*medians)
        print(f"{name:24} {what:6} {columns} {medians[0] / best:11.2f}×", flush=True)


def main():
    rounds, part = int(sys.argv[1]), "".join(sys.argv[2:])
    cases = [case for case in CASES if part in case[0]]
    family = [(f"{arch} at {size}, batch {batch}", arch, size, batch) for arch, size, batch in FAMILY]
    family = [case for case in family if part in case[0]]
    if not cases + family:
        sys.exit(f"{part}: no such case; there are " + "; ".join(case[0] for case in CASES + family))
    header = "{:24} {:6} {:>8} {:>8} {:>9} {:>12}".format
    if cases:
        print(header("", "", "ours", "eager", "compiled", "ours / best"))
    for name, size, batch, our_environment, torch_environment, bf16 in cases:
        peer = lambda *flags: lambda: torch(size, batch, torch_environment, bf16, *flags)
        compare(name, rounds, lambda: ours(size, batch, our_environment, bf16), peer(), peer("--compile"))
    if family:
        print(header("", "", "ours", "NHWC", "NCHW", "ours / best"))
    for name, arch, size, batch in family:
        peer = lambda *flags: lambda: torch(size, batch, {}, False, "--arch", arch, *flags)
        compare(name, rounds, lambda: ours(size, batch, {}, False, arch), peer(), peer("--nchw"))
    print("train and infer in examples per second, memory in MiB at the peak of training")


main()
