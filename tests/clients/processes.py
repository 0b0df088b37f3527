"""Which processes came of which."""

import os


def descendants(pid):
    parents = {}
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{other}/stat") as f:
                parents[int(other)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    found, more = [], [pid]
    while more:
        more = [p for p, parent in parents.items() if parent in more]
        found += more
    return found
