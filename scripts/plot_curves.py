#!/usr/bin/env python3
"""Draws the loss of every step of some runs over each other, as `resnet train --json` printed them:

    resnet train --epochs 1 --limit-batches 100 --json > highest.jsonl
    resnet train --epochs 1 --limit-batches 100 --json --matmul-precision high > high.jsonl
    scripts/plot_curves.py highest.jsonl high.jsonl curves.svg

Needs matplotlib. The picture's ending says its format.
"""

import json
import pathlib
import sys

from matplotlib import pyplot


def losses(path):
    events = map(json.loads, pathlib.Path(path).read_text().splitlines())
    steps = [event for event in events if event["event"] == "step"]
    return [s["step"] for s in steps], [s["loss"] for s in steps]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    *runs, picture = sys.argv[1:]
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for run in runs:
        axes.plot(*losses(run), label=pathlib.Path(run).stem, linewidth=1)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(picture)


main()
