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


def count(body):
    """Matrix products, FMAs and all instructions; waits, branches, barriers and hints are instructions too."""
    return *(sum(bool(kind.match(text)) for text in body) for kind in (WMMA, FMA)), len(body)


def times(body):
    """How often a loop that counts to a constant runs, or None."""
    for text in body:
        if found := re.match(r"s_cmpk?_[gl][et]_[iu]32 (s\d+), (\w+)$", text):
            step = [re.match(rf"s_addk?_\w+ {found[1]}, (?:{found[1]}, )?(\w+)$", text) for text in body]
            step = [int(by[1], 0) for by in step if by]
            if step and re.match(r"\d|0x", found[2]):
                return -(-int(found[2], 0) // step[0])
    return None


def loops_of(listing):
    """Matrix products, FMAs and all instructions of one pass of the innermost loop with most of them, and of one
    pass of the block of k: that loop as often as it runs and what is around it in the next loop out, with the
    loads, the stores to workgroup memory and the barriers, both sides of every branch counted. An innermost
    loop that loads from memory is a block of k itself; None for what is not there or not known."""
    code = list(instructions(listing))
    loops = set()
    for block, text in code:
        if found := re.match(r"s_c?branch\w* BB(\d+)", text):
            if int(found[1]) <= block:
                loops.add((int(found[1]), block))
    body = {a: [text for block, text in code if a[0] <= block <= a[1]] for a in loops}
    around = {a: [b for b in loops if b != a and b[0] <= a[0] and a[1] <= b[1]] for a in loops}
    inner = [a for a in loops if not any(a in around[b] for b in loops)]
    if not inner:
        return None, None
    best = max(inner, key=lambda a: count(body[a]))
    once = count(body[best])
    runs, outer = times(body[best]), min(around[best], key=lambda b: b[1] - b[0], default=None)
    if any(re.match(r"(buffer|global)_load_", text) for text in body[best]):
        return once, once
    if runs is None or outer is None:
        return once, None
    return once, tuple(o + (runs - 1) * n for o, n in zip(count(body[outer]), once))


def share(counts):
    """What part of a loop multiplies."""
    if not counts or not any(counts[:2]):
        return "-"
    products, fmas, all_ = counts
    return f"{products} WMMA of {all_}" if products else f"{100 * fmas / all_:.1f} %"


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
        shares = [share(counts) for counts in loops_of(listing)]
        rows.append([name] + [str(stats.get(key, "?")) for key in STATS] + shares)
    head = ["kernel", "VGPRs", "spilled", "LDS", "waves/SIMD", "bytes", "FMA, inner loop", "FMA, block of k"]
    widths = [max(len(row[i]) for row in rows + [head]) for i in range(len(head))]
    for row in [head] + rows:
        print(row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:])), sep="  ")
    print(f"{len(rows)} pipelines, {sum(int(row[2]) for row in rows)} VGPRs spilled")
    if known:
        sys.exit(f"not in the dump: {', '.join(known)}")


main()
