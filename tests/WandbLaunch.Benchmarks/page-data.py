# Fills a server's database for the benchmark "page": PATH RUNS ITEMS ROWS. Straight into its file, for what is measured is the way out of it.
import json
import math
import random
import sqlite3
import sys

path, runs, items, rows = sys.argv[1], *map(int, sys.argv[2:])
c = sqlite3.connect(path)
r = random.Random(1)
c.execute("INSERT INTO projects (entity, name, created_at) VALUES ('local', 'bench', '2026-01-01')")
project = c.execute("SELECT id FROM projects WHERE name = 'bench'").fetchone()[0]
options = ["option_%04d" % i for i in range(749)]
metrics = ["metric_%04d" % i for i in range(749)]


def run(i):
    a, b = r.randrange(0, 730), r.randrange(0, 730)
    config = {k: {"value": r.choice([i, r.random(), "text %d" % (i % 50)])} for k in options[a:a + 20]}
    config["lr"] = {"value": 10 ** r.uniform(-5, -1)}
    config["optimizer"] = {"value": ["adam", "sgd", "lion"][i % 3]}
    summary = {k: r.random() for k in metrics[b:b + 20]}
    summary["loss"] = r.random()
    begun = "2026-01-%02dT%02d:%02d:00.000" % (1 + i // 4000, i // 200 % 20, i // 4 % 50)
    return (project, "r%07d" % i, "run %d" % i, "failed" if i % 7 == 0 else "finished", json.dumps(config), json.dumps(summary), begun)


c.executemany("INSERT INTO runs (project, name, display_name, state, config, summary, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)", (run(i) for i in range(runs)))
c.execute("INSERT INTO queues (entity, project, name, created_by, access, created_at) VALUES ('local', 'model-registry', 'bench', 'local', 'PROJECT', '2026-01-01T00:00:00.000')")
queue = c.execute("SELECT id FROM queues WHERE name = 'bench'").fetchone()[0]
spec = json.dumps({"uri": "https://example.org/train.git", "project": "bench", "author": "me", "overrides": {"args": ["--lr", "0.1"]}})
c.executemany("INSERT INTO items (queue, spec, priority, created_at) VALUES (?, ?, 2, '2026-01-01T00:00:00.000')", ((queue, spec) for _ in range(items)))
keys = ["k%d/loss" % i for i in range(10)]
first = c.execute("SELECT MIN(id) FROM runs WHERE project = ?", (project,)).fetchone()[0]


def lines(run):
    for i in range(rows):
        x = i / rows
        row = {"_step": i, "_runtime": i * 0.5, "_timestamp": 1767225600 + i * 0.5, **{k: math.exp(-3 * x) + r.random() * 0.1 + j for j, k in enumerate(keys)}}
        yield (run, i, json.dumps(row), i)


for n in range(20):
    c.executemany("INSERT INTO history (run, line, row, step) VALUES (?, ?, ?, ?)", lines(first + n))
c.commit()
