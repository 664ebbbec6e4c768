#!/usr/bin/env python3
"""What AMD's compiler made of every kernel, as a table.

    scripts/isa_report.py DUMP [TRACE]

DUMP is what RADV_DEBUG=shaders,shaderstats printed while one thread compiled; TRACE is what `resnet bench
--trace` wrote in the same run: its kernels name the pipelines, which were compiled in their order.
"""
import json
import re
import sys

FMA = re.compile(r"v_(dual_|pk_)?(fma|fmac|mac|mad)(mk|ak|_mix\w*)?_f(16|32)")
WMMA = re.compile(r"v_wmma_")
STATS = ["VGPRs", "Spilled VGPRs", "LDS size", "Subgroups per SIMD", "Code size"]


def pipelines(dump):
    """Entry point, statistics and disassembly of each pipeline, in order."""
    entry = None
    listing = None
    for line in dump:
        line = line.rstrip("\n")
        if found := re.match(r"decl_function (\w+) \(\) \(entrypoint\)", line):
            entry = found[1]
        elif line == "disasm:":
            listing = []
        elif line.startswith("*** SHADER STATS"):
            stats = {}
        elif found := re.match(r"([A-Z][\w \-]+): (\d+)$", line):
            if listing is not None and found[1] in STATS:
                stats[found[1]] = int(found[2])
        elif line.startswith("****************") and listing is not None:
            yield entry, stats, listing
            listing = None
        elif listing is not None and re.match(r"BB\d+:|\t|\t?\(then repeated", line):
            listing.append(line.strip())


def instructions(listing):
    """The instructions with the numbers of their blocks; a dual-issued pair counts as two."""
    block = 0
    for line in listing:
        if found := re.match(r"BB(\d+):", line):
            block = int(found[1])
        elif found := re.match(r"\(then repeated (\d+) times\)", line):
            for _ in range(int(found[1])):
                yield last
        else:
            for part in line.split(";")[0].split("::"):
                last = block, part.strip()
                yield last


def inner_loop(listing):
    """Matrix products, FMAs and all instructions of the innermost loop with most of them, or None."""
    code = list(instructions(listing))
    loops = set()
    for block, text in code:
        if found := re.match(r"s_c?branch\w* BB(\d+)", text):
            if int(found[1]) <= block:
                loops.add((int(found[1]), block))
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    counts = []
    for first, last in inner:
        body = [text for block, text in code if first <= block <= last]
        found = [sum(bool(kind.match(text)) for text in body) for kind in (WMMA, FMA)]
        counts.append((*found, len(body)))
    return max(counts, default=None)


def names(trace):
    """Kernels in the order of their first use."""
    events = json.load(open(trace))["traceEvents"]
    return list(dict.fromkeys(event["args"]["kernel"] for event in events))


def main():
    dump, *trace = sys.argv[1:]
    known = names(trace[0]) if trace else []
    rows = []
    for entry, stats, listing in pipelines(open(dump, errors="replace")):
        name = entry
        if known and known[0].split(".")[-1] == entry:
            name = known.pop(0)
        elif entry == "main":
            continue  # wgpu's own
        elif trace:
            name = f"(evaluation) {entry}"
        loop = inner_loop(listing)
        share = "-"
        if loop and loop[0]:
            share = f"{loop[0]} WMMA of {loop[2]}"
        elif loop and loop[1]:
            share = f"{100 * loop[1] / loop[2]:.0f} %"
        rows.append([name] + [str(stats.get(key, "?")) for key in STATS] + [share])
    head = ["kernel", "VGPRs", "spilled", "LDS", "waves/SIMD", "bytes", "FMA share"]
    widths = [max(len(row[i]) for row in rows + [head]) for i in range(len(head))]
    for row in [head] + rows:
        print(row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:])), sep="  ")
    print(f"{len(rows)} pipelines, {sum(int(row[2]) for row in rows)} VGPRs spilled")
    if known:
        sys.exit(f"not in the dump: {', '.join(known)}")


main()
