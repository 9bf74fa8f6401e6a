"""The table: medians, and how far ahead or behind snap is."""

import json
import platform
from collections import defaultdict
from pathlib import Path
from statistics import median

from peerlib.tools import ALL

MB = 1_000_000


def machine(kind):
    """The machine of the measurement."""
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    where = "a fresh journaled ext4 in a loop file" if kind == "ext4" else "a fresh tmpfs"
    return f"{len(names)} x {names[0] if names else '?'}, {memory:.0f} GiB, Linux {platform.release()}, on {where}"


def report(path):
    """Markdown: for each data set a table of seconds, CPU seconds and memory, and one of sizes."""
    heads, rows = [], []
    for line in Path(path).read_text().splitlines():
        row = json.loads(line)
        (heads if "machine" in row else rows).append(row)
    # Figures that are added to an earlier run may be of other programs.
    versions = dict.fromkeys(version for head in heads for version in head["versions"])
    text = [f"{head['machine']}; {', '.join(versions)}." for head in heads[-1:]]
    for name in dict.fromkeys(row["set"] for row in rows):
        text += one_set(name, [row for row in rows if row["set"] == name])
    return "\n".join(text)


def one_set(name, rows):
    cells = defaultdict(list)
    for row in rows:
        cells[row["op"], row["tool"]].append(row)
    there = [tool for tool in ALL if any(row["tool"] == tool for row in rows)]
    ops = list(dict.fromkeys(row["op"] for row in rows if row["op"] != "plain"))
    most = max(len(found) for found in cells.values())
    text = ["", f"### {name}", f"Medians of up to {most}: seconds (CPU seconds) MB of memory at the peak.", ""]
    text += ["| | " + " | ".join(there) + " | fastest peer | that encrypts |", "|---" * (len(there) + 3) + "|"]
    for op in ops:
        shown = [cell(cells.get((op, tool))) for tool in there]
        text.append(f"| {op} | " + " | ".join(shown) + f" | {ahead(cells, op, there, False)} "
                    f"| {ahead(cells, op, there, True)} |")
    text += ["", "MB in the repository:", "", "| after | " + " | ".join(there) + " |", "|---" * (len(there) + 1) + "|"]
    for op, before in (("first", None), ("changed", "unchanged"), ("forget", None)):
        if op in ops:
            shown = [stored(cells, tool, op, before) for tool in there]
            text.append(f"| {op} | " + " | ".join(shown) + " |")
    plain = [f"`{tool}` {cell(found)}" for (op, tool), found in cells.items() if op == "plain"]
    text += ["", "Beside them: " + ", ".join(plain) + "."]
    wrong = sorted({f"{row['tool']} ({row['op']}: {row['differences']})" for row in rows if row.get("differences")})
    compared = sum("differences" in row for row in rows)
    text.append(f"{compared} restores were compared with their source; "
                + ("DIFFERENCES: " + ", ".join(wrong) if wrong else "no difference") + ".")
    return text


def middle(found, what):
    return median(row[what] for row in found)


def cell(found):
    if not found:
        return "-"
    return f"{middle(found, 'wall'):.2f} ({middle(found, 'cpu'):.2f}) {middle(found, 'rss') / MB:.0f}"


def ahead(cells, op, there, encrypted):
    """The best peer's time by snap's. Copying is no backup; tar's list is not one of snapshots."""
    peers = [tool for tool in there if tool not in ("snap", "cp", "tar") and cells.get((op, tool))]
    if encrypted:
        peers = [tool for tool in peers if ALL[tool].encrypts]
    ours = cells.get((op, "snap"))
    if not ours or not peers:
        return "-"
    best = min(peers, key=lambda tool: middle(cells[op, tool], "wall"))
    return f"{middle(cells[op, best], 'wall') / middle(ours, 'wall'):.2f}x ({best})"


def stored(cells, tool, op, before):
    found = cells.get((op, tool))
    if not found:
        return "-"
    whole = f"{middle(found, 'size') / MB:.1f}"
    earlier = cells.get((before, tool))
    if earlier and before:
        whole += f" (+{(middle(found, 'size') - middle(earlier, 'size')) / MB:.1f})"
    return whole
