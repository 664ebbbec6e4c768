"""Runs `resnet bench --device cpu` and `peer_torch.py` in turns and prints the ratio of their medians; PyTorch counts
with the faster of eager and compiled. `scripts/bench_peers.sh` calls it with the number of rounds, and perhaps with a
part of the names of the cases."""

import json
import os
import statistics
import subprocess
import sys

# Name, image size, batch size, environment of ours and of PyTorch, whether PyTorch's autocast takes bfloat16, and our
# products and activations are of it.
CASES = [
    ("96×96, batch 256", 96, 256, {}, {}, False),
    ("96×96, batch 32", 96, 32, {}, {}, False),
    ("28×28, batch 256", 28, 256, {}, {}, False),
    ("96×96, batch 256, AVX2", 96, 256, {"RESNET_CPU_ISA": "avx2"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
    ("96×96, batch 256, bf16", 96, 256, {}, {}, True),
]


def run(command, environment):
    # A variable of the tester's own must not change what is compared.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RESNET_", "ONEDNN_"))}
    done = subprocess.run(command, env=clean | environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def ours(size, batch, environment, bf16):
    command = "target/release/resnet bench --device cpu --json --steps 5".split()
    command += ["--matmul-precision", "medium", "--precision", "bf16"] * bf16
    report = run(command + ["--image-size", str(size), "--batch-size", str(batch)], environment)
    rate = lambda part: report[part]["examples_per_second"]
    return {"train": rate("train"), "infer": rate("infer"), "memory": report["peak_memory_bytes"]}


def torch(size, batch, environment, bf16, compiled):
    result = {}
    for mode in ["train", "infer"]:
        command = [sys.executable, "scripts/peer_torch.py", "--mode", mode, "--steps", "5"]
        command += ["--image-size", str(size), "--batch-size", str(batch)]
        report = run(command + ["--compile"] * compiled + ["--bf16"] * bf16, environment)
        result[mode] = report["examples_per_second"]
        if mode == "train":
            result["memory"] = report["peak_memory_bytes"]
    return result


def main():
    rounds, part = int(sys.argv[1]), "".join(sys.argv[2:])
    cases = [case for case in CASES if part in case[0]]
    if not cases:
        sys.exit(f"{part}: no such case; there are " + "; ".join(case[0] for case in CASES))
    print(f"{'':24} {'':6} {'ours':>8} {'eager':>8} {'compiled':>9} {'ours / best':>12}")
    for name, size, batch, our_environment, torch_environment, bf16 in cases:
        results = {"ours": [], "eager": [], "compiled": []}
        for _ in range(rounds):
            results["ours"].append(ours(size, batch, our_environment, bf16))
            results["eager"].append(torch(size, batch, torch_environment, bf16, False))
            results["compiled"].append(torch(size, batch, torch_environment, bf16, True))
        for what in ["train", "infer", "memory"]:
            median = {who: statistics.median(r[what] for r in runs) for who, runs in results.items()}
            best = (min if what == "memory" else max)(median["eager"], median["compiled"])
            scale = 2**20 if what == "memory" else 1
            numbers = [median[who] / scale for who in ["ours", "eager", "compiled"]]
            columns = "{:8.1f} {:8.1f} {:9.1f}".format(*numbers)
            print(f"{name:24} {what:6} {columns} {median['ours'] / best:11.2f}×", flush=True)
    print("train and infer in examples per second, memory in MiB at the peak of training")


main()
