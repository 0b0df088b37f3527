#!/usr/bin/env python3
"""Tries versions of W&B's own client against a server of this tree, and writes docs/clients.md's table.

    WANDBLAUNCH_TEST_CLIENTS=/clients/0.12.21:/clients/0.19.11 tests/clients/try_clients.py [--write] [OPERATION…]

Each folder holds a client's package "wandb" (a checkout of its repository, or what pip unpacked), whose dependencies
WANDBLAUNCH_TEST_PYTHON (default: python3) has, or WANDBLAUNCH_TEST_PYTHONPATH names. No client is a part of this tree.
Build src/WandbLaunch.Server first. Without clients there is nothing to do, and that is said.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from processes import descendants

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
KEY = "local-0123456789012345678901234567890123456789"
SILENCE = 20
PAGE = os.path.join(ROOT, "docs", "clients.md")
BEGIN, END = "<!-- table: tests/clients/try_clients.py -->", "<!-- end of table -->"

# Name of the operation, and what the page calls it.
OPERATIONS = {
    "log": "init, config, log, summary, tags, save, finish",
    "resume": "resume a finished run",
    "offline_sync": "offline, then `wandb sync`",
    "media": "Image, Table",
    "artifacts": "artifacts: log, use, download, versions, aliases, lineage, delete",
    "link": "link an artifact into a portfolio",
    "alert": "`run.alert`",
    "history": "`run.history`, `scan_history`, system metrics",
    "runs_order_filter": "`Api().runs` with orders and filters",
    "files": "`run.files`, download, delete",
    "restore": "`wandb.restore`",
    "run_update": "`run.update`, `run.delete`",
    "killed_run": "a killed run becomes crashed",
    "sweep_grid": "`wandb sweep`, `wandb agent`: grid",
    "sweep_random": "`wandb.sweep`, `wandb.agent` with a function: random",
    "sweep_pause_cancel": "`wandb sweep --pause`, `--resume`, `--cancel`",
    "sweep_bayes": "bayes: an error that names the controller",
    "users_teams": "`Api().viewer`, `user`, `team`, `projects`, `reports`",
    "queues": "`Api().create_run_queue`, `upsert_run_queue`",
    "jobs": "`wandb job create`, `list`, `describe`",
    "launch_agent": "`wandb launch --queue`, `wandb launch-agent`: the item ends",
    "unknown_field": "an unknown field: an error that names it, and the client goes on",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_server(folder):
    binary = next(
        (
            p
            for p in (
                os.path.join(ROOT, "src", "WandbLaunch.Server", "bin", c, "net8.0", "WandbLaunch.Server.dll")
                for c in ("Debug", "Release")
            )
            if os.path.exists(p)
        ),
        None,
    )
    if binary is None:
        sys.exit("Build src/WandbLaunch.Server first.")
    # Of a copy: the tree may be built meanwhile.
    copy = os.path.join(folder, "server")
    shutil.copytree(os.path.dirname(binary), copy)
    log = open(os.path.join(folder, "server.log"), "w")
    process = subprocess.Popen(
        [
            "dotnet",
            os.path.join(copy, "WandbLaunch.Server.dll"),
            "--path",
            os.path.join(folder, "w.db"),
            "--port",
            str(free_port()),
            "--heartbeat-limit",
            str(SILENCE),
        ],
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "WANDBLAUNCH_SERVER_KEY": KEY},
        start_new_session=True,
    )
    for _ in range(300):
        with open(log.name) as f:
            found = re.search(r"^listening (\S+)", f.read(), re.M)
        if found:
            return process, found.group(1)
        time.sleep(0.1)
    process.kill()
    sys.exit("The server did not start: " + open(log.name).read())


def try_one(client, version, operation, url, folder, server):
    place = os.path.join(folder, version + "-" + operation)
    os.makedirs(place)
    path = [client, *filter(None, [os.environ.get("WANDBLAUNCH_TEST_PYTHONPATH")])]
    environment = {
        # Programs that are launched say "python".
        "PATH": os.path.join(folder, "bin") + os.pathsep + os.environ["PATH"],
        "HOME": place,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path),
        "WANDB_API_KEY": KEY,
        "WANDB_BASE_URL": url,
        "WANDB_ENTITY": "local",
        "WANDB_PROJECT": "try-" + version.replace(".", "-"),
        "WANDB_DIR": place,
        "WANDB_CONFIG_DIR": os.path.join(place, "config"),
        "WANDB_CACHE_DIR": os.path.join(place, "cache"),
        "WANDB_DATA_DIR": os.path.join(place, "data"),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        # From 0.18 to 0.19 the part that sends is either in Python or in Go; only the first runs from source.
        "WANDB__REQUIRE_LEGACY_SERVICE": "true",
        "WANDB_X_REQUIRE_LEGACY_SERVICE": "true",
        "WANDBLAUNCH_TEST_HEARTBEAT_LIMIT": str(SILENCE),
    }
    log = os.path.join(place, "output.txt")
    with open(log, "w") as output:
        process = subprocess.Popen(
            [os.environ.get("WANDBLAUNCH_TEST_PYTHON", "python3"), os.path.join(HERE, "operations.py"), operation],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=place,
            env=environment,
            start_new_session=True,
        )
        try:
            code = process.wait(240)
        except subprocess.TimeoutExpired:
            code = -1
    end_all(server)
    lines = [line.strip() for line in open(log, errors="replace") if line.strip()]
    last = lines[-1] if lines else ""
    if code == 0:
        return "works"
    if code == 3:
        return "– (" + last.removeprefix("absent: ") + ")"
    return "FAILS: " + ("nothing came within 4 minutes" if code == -1 else last)[:200]


def end_all(server):
    """What a client leaves running is ours: it comes back to this process, which is the reaper of all that it started."""
    for pid in [p for p in descendants(os.getpid()) if p not in (server, *descendants(server))]:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except OSError:
            pass


def version_of(client):
    with open(os.path.join(client, "wandb", "__init__.py")) as f:
        return re.search(r"__version__ = \"([^\"]+)\"", f.read()).group(1)


def table(results):
    versions = sorted(results, key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
    lines = ["| operation | " + " | ".join(versions) + " |", "|---|" + "---|" * len(versions)]
    for name, shown in OPERATIONS.items():
        cells = [results[v].get(name, "not tried").replace("|", "\\|") for v in versions]
        lines.append("| " + " | ".join([shown, *cells]) + " |")
    return "\n".join(lines)


def main():
    clients = [c for c in os.environ.get("WANDBLAUNCH_TEST_CLIENTS", "").split(os.pathsep) if c]
    if not clients:
        print("skipped: WANDBLAUNCH_TEST_CLIENTS names no folder of a client of W&B")
        return 0
    arguments = [a for a in sys.argv[1:] if a != "--write"]
    wanted = arguments or list(OPERATIONS)
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    folder = tempfile.mkdtemp(prefix="wandblaunch-clients-")
    os.mkdir(os.path.join(folder, "bin"))
    os.symlink(
        shutil.which(os.environ.get("WANDBLAUNCH_TEST_PYTHON", "python3")), os.path.join(folder, "bin", "python")
    )
    server, url = start_server(folder)
    results = {}
    try:
        for client in clients:
            version = version_of(client)
            results[version] = {}
            for operation in wanted:
                results[version][operation] = try_one(client, version, operation, url, folder, server.pid)
                print(version, operation, results[version][operation], flush=True)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    with open(os.path.join(folder, "results.json"), "w") as f:
        json.dump(results, f, indent=1)
    print(table(results))
    print("kept in " + folder)
    if "--write" in sys.argv:
        with open(PAGE, encoding="utf8") as f:
            page = f.read()
        before, rest = page.split(BEGIN)
        with open(PAGE, "w", encoding="utf8") as f:
            f.write(before + BEGIN + "\n" + table(results) + "\n" + END + rest.split(END)[1])
    return 1 if any(cell.startswith("FAILS") for row in results.values() for cell in row.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
