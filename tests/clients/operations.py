#!/usr/bin/env python3
"""What people do with W&B's own client, one operation a process: operations.py NAME.

The client is the one that Python finds; the server is the one that WANDB_BASE_URL names. Ends with 0 where the operation
did what it should, with 3 and a line "absent: …" where this version of the client does not have it, else with the error.
"""

import inspect
import json
import os
import random
import signal
import subprocess
import sys
import time

import wandb

from processes import descendants

ENTITY = os.environ["WANDB_ENTITY"]
PROJECT = os.environ["WANDB_PROJECT"]
VERSION = tuple(int("".join(c for c in p if c.isdigit()) or 0) for p in wandb.__version__.split(".")[:3])


def absent(why):
    print("absent: " + why)
    sys.exit(3)


def check(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: {got!r} instead of {wanted!r}")


def api():
    return wandb.Api(timeout=30)


def path(run):
    return f"{ENTITY}/{PROJECT}/{run}"


def new_run(tags=None, **more):
    # 0.19 with the first generation of pydantic, which is what Debian 12 has, cannot be given tags at the beginning.
    run = wandb.init(**more) if VERSION >= (0, 19) or tags is None else wandb.init(tags=tags, **more)
    if tags and VERSION >= (0, 19):
        run.tags = tuple(tags)
    return run


def logged(steps=5, **more):
    run = new_run(**more)
    for i in range(steps):
        run.log({"loss": 1 / (i + 1), "i": i})
    run.finish()
    return run


def wait_for(what, seconds=30):
    end = time.time() + seconds
    while time.time() < end:
        found = what()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError("it did not come within %s seconds" % seconds)


def cli(*args, ok=True, timeout=120, env=None):
    done = subprocess.run(
        [sys.executable, "-m", "wandb", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        env={**os.environ, "WANDB_SILENT": "false", **(env or {})},
    )
    text = done.stdout.decode(errors="replace")
    if ok and done.returncode != 0:
        raise AssertionError(f"wandb {' '.join(args)} ended with {done.returncode}: {text[-1500:]}")
    return text


def op_log():
    run = new_run(config={"lr": 0.1}, tags=["a"], notes="n", group="g", job_type="j")
    for i in range(5):
        run.log({"loss": 1 / (i + 1)})
    run.summary["best"] = 0.2
    with open(os.path.join(run.dir, "extra.txt"), "w") as f:
        f.write("x")
    run.finish()
    found = api().run(path(run.id))
    check("state", found.state, "finished")
    check("config", found.config["lr"], 0.1)
    check("summary", found.summary["best"], 0.2)
    check("tags", found.tags, ["a"])
    check("extra.txt", found.file("extra.txt").name, "extra.txt")


def op_resume():
    first = logged(3)
    again = new_run(id=first.id, resume="must")
    again.log({"loss": 0.01})
    check("state while it runs", api().run(path(first.id)).state, "running")
    again.finish()
    found = api().run(path(first.id))
    check("state", found.state, "finished")
    check("rows", len(list(found.scan_history())), 4)


def op_offline_sync():
    run = logged(4, mode="offline")
    folder = os.path.dirname(run.dir)
    cli("sync", folder)
    found = api().run(path(run.id))
    check("rows", len(list(found.scan_history())), 4)
    check("state", found.state, "finished")


def op_history():
    run = new_run()
    for i in range(1003):
        run.log({"loss": i, "other": 2 * i})
    run.finish()
    found = api().run(path(run.id))
    rows = list(found.scan_history())
    check("rows scanned", len(rows), 1003)
    check("last row", rows[-1]["loss"], 1002)
    check("rows of two keys", len(list(found.scan_history(keys=["loss", "other"]))), 1003)
    check("rows of a range", len(list(found.scan_history(min_step=10, max_step=20))), 10)
    sampled = found.history(samples=100, pandas=False)
    assert 50 <= len(sampled) <= 101, len(sampled)
    of_keys = found.history(samples=100, keys=["loss"], pandas=False)
    assert 50 <= len(of_keys) <= 101, len(of_keys)
    check("last step", found.lastHistoryStep, 1002)
    found.history(stream="system", pandas=False)


def op_runs_order_filter():
    group = "order-%d" % random.randrange(10**9)
    for lr in (0.3, 0.1, 0.2):
        run = new_run(config={"lr": lr}, group=group, tags=["t%d" % (lr * 10)])
        run.log({"acc": 1 - lr})
        run.finish()
    a = api()

    def lrs(order=None, **filters):
        more = {"order": order} if order else {}
        return [round(r.config["lr"], 1) for r in a.runs(f"{ENTITY}/{PROJECT}", filters={"group": group, **filters}, **more)]

    check("+created_at", lrs("+created_at"), [0.3, 0.1, 0.2])
    check("-created_at", lrs("-created_at"), [0.2, 0.1, 0.3])
    check("config", lrs("+config.lr.value"), [0.1, 0.2, 0.3])
    check("-config", lrs("-config.lr.value"), [0.3, 0.2, 0.1])
    check("summary", lrs("-summary_metrics.acc"), [0.1, 0.2, 0.3])
    check("heartbeat_at", sorted(lrs("+heartbeat_at")), [0.1, 0.2, 0.3])
    check("filter of config", sorted(lrs(**{"config.lr": {"$gt": 0.15}})), [0.2, 0.3])
    check("filter of summary", lrs(**{"summary_metrics.acc": {"$gt": 0.85}}), [0.1])
    check("filter of tags", lrs(tags="t2"), [0.2])
    check("len", len(a.runs(f"{ENTITY}/{PROJECT}", filters={"group": group})), 3)
    try:
        lrs("+no_such_thing")
    except Exception as e:
        assert "no_such_thing" in str(e), e
    else:
        raise AssertionError("an unknown order was passed over")


def op_files():
    run = new_run()
    for i in range(9):
        with open(os.path.join(run.dir, f"f{i}.txt"), "w") as f:
            f.write(str(i))
    run.finish()
    found = api().run(path(run.id))
    names = [f.name for f in found.files()]
    assert {f"f{i}.txt" for i in range(9)} <= set(names), names
    check("len", len(found.files()), len(names))
    found.file("f3.txt").download(root="down", replace=True)
    check("content", open("down/f3.txt").read(), "3")
    found.file("f4.txt").delete()
    assert "f4.txt" not in [f.name for f in api().run(path(run.id)).files()]


def op_restore():
    run = new_run()
    with open(os.path.join(run.dir, "w.txt"), "w") as f:
        f.write("w")
    run.finish()
    got = wandb.restore("w.txt", run_path=path(run.id), root="restored", replace=True)
    check("content", got.read(), "w")


def op_run_update():
    run = logged(1)
    found = api().run(path(run.id))
    found.config["more"] = 3
    found.notes = "changed"
    found.summary["after"] = 1
    found.update()
    again = api().run(path(run.id))
    check("config", again.config["more"], 3)
    check("notes", again.notes, "changed")
    check("state", again.state, "finished")
    again.delete()
    try:
        api().run(path(run.id))
    except Exception:
        return
    raise AssertionError("the run was not deleted")


def op_media():
    import numpy

    run = new_run()
    run.log({"picture": wandb.Image(numpy.zeros((8, 8, 3), dtype="uint8"))})
    run.log({"table": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])})
    run.finish()
    found = api().run(path(run.id))
    check("state", found.state, "finished")
    names = [f.name for f in found.files()]
    assert any(n.startswith("media/images/") for n in names), names
    assert any(n.startswith("media/table/") for n in names), names


def op_artifacts():
    name = "data-%d" % random.randrange(10**9)
    for i in range(2):
        run = new_run(job_type="make")
        artifact = wandb.Artifact(name, type="dataset", description="d", metadata={"i": i})
        with artifact.new_file("part/a.txt") as f:
            f.write("content %d" % i)
        run.log_artifact(artifact, aliases=["try%d" % i])
        artifact.wait()
        run.finish()
        maker = run
    run = new_run(job_type="use")
    used = run.use_artifact(name + ":latest")
    folder = used.download(root="art-" + name)
    check("content", open(os.path.join(folder, "part", "a.txt")).read(), "content 1")
    run.finish()
    a = api()
    found = a.artifact(f"{ENTITY}/{PROJECT}/{name}:v1")
    check("metadata", found.metadata["i"], 1)
    assert {"latest", "try1"} <= set(found.aliases), found.aliases
    check("size", found.size, len("content 1"))
    check("made by", found.logged_by().id, maker.id)
    check("used by", [r.id for r in found.used_by()], [run.id])
    check("outputs", name in [x.name.split(":")[0] for x in a.run(path(maker.id)).logged_artifacts()], True)
    check("inputs", [x.name for x in a.run(path(run.id)).used_artifacts()], [name + ":v1"])
    versions = a.artifact_versions("dataset", f"{ENTITY}/{PROJECT}/{name}") if not hasattr(a, "artifacts") else a.artifacts("dataset", f"{ENTITY}/{PROJECT}/{name}")
    check("versions", len(list(versions)), 2)
    found.description = "new words"
    found.aliases.append("extra")
    found.save()
    again = api().artifact(f"{ENTITY}/{PROJECT}/{name}:extra")
    check("description", again.description, "new words")
    collections = a.artifact_type("dataset", f"{ENTITY}/{PROJECT}").collections()
    assert name in [c.name for c in collections]
    assert "dataset" in [t.name for t in a.artifact_types(f"{ENTITY}/{PROJECT}")]
    old = api().artifact(f"{ENTITY}/{PROJECT}/{name}:v0")
    old.delete(delete_aliases=True)
    try:
        api().artifact(f"{ENTITY}/{PROJECT}/{name}:v0")
    except Exception:
        return
    raise AssertionError("the version was not deleted")


def op_link():
    name = "model-%d" % random.randrange(10**9)
    run = new_run()
    artifact = wandb.Artifact(name, type="model")
    with artifact.new_file("m.txt") as f:
        f.write("m")
    run.log_artifact(artifact)
    artifact.wait()
    if not hasattr(run, "link_artifact"):
        absent("link_artifact")
    run.link_artifact(artifact, f"{ENTITY}/{PROJECT}/best-{name}", aliases=["prod"])
    run.finish()
    found = wait_for(lambda: _artifact(f"{ENTITY}/{PROJECT}/best-{name}:prod"))
    check("digest", found.digest, artifact.digest)


def _artifact(name):
    try:
        return api().artifact(name)
    except Exception:
        return None


def op_alert():
    run = new_run()
    run.alert(title="Low accuracy", text="below 0.5", level=wandb.AlertLevel.WARN, wait_duration=0)
    run.log({"loss": 1})
    run.finish()
    found = api().run(path(run.id))
    check("state", found.state, "finished")
    got = _ask(
        "query A($e: String, $p: String, $r: String!) { project(entityName: $e, name: $p) { run(name: $r) { alerts { title text severity } } } }",
        {"e": ENTITY, "p": PROJECT, "r": run.id},
    )
    check("alerts", got["project"]["run"]["alerts"], [{"title": "Low accuracy", "text": "below 0.5", "severity": "WARN"}])


def _ask(query, variables):
    import base64
    import urllib.request

    request = urllib.request.Request(
        os.environ["WANDB_BASE_URL"] + "/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(("api:" + os.environ["WANDB_API_KEY"]).encode()).decode(),
        },
    )
    with urllib.request.urlopen(request) as answer:
        found = json.load(answer)
    if found.get("errors"):
        raise AssertionError(found["errors"])
    return found["data"]


def op_killed_run():
    limit = float(os.environ.get("WANDBLAUNCH_TEST_HEARTBEAT_LIMIT") or 0)
    if not limit:
        absent("WANDBLAUNCH_TEST_HEARTBEAT_LIMIT is not set")
    child = subprocess.Popen(
        [sys.executable, "-c", "import wandb, time\nr = wandb.init()\nr.log({'a': 1})\nprint('ID', r.id, flush=True)\ntime.sleep(600)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    name = None
    for line in child.stdout:
        if line.startswith(b"ID "):
            name = line.split()[1].decode()
            break
    time.sleep(2)
    # Some versions have a process of their own that sends, in a session of its own.
    for pid in [child.pid, *descendants(child.pid)]:
        os.kill(pid, signal.SIGKILL)
    check("state at first", api().run(path(name)).state, "running")
    wait_for(lambda: api().run(path(name)).state == "crashed", 4 * limit + 20)


SWEEP = """
program: train.py
method: {method}
metric: {{name: loss, goal: minimize}}
parameters:
  lr: {{values: [0.1, 0.2]}}
  size: {{values: [1, 2]}}
command: ["{python}", "${{program}}", "${{args}}"]
"""

TRAIN = """
import argparse, wandb
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float)
p.add_argument("--size", type=int)
a = p.parse_args()
r = wandb.init(config=vars(a))
r.log({"loss": a.lr * a.size})
r.finish()
"""


def _sweep(method, **more):
    with open("train.py", "w") as f:
        f.write(TRAIN)
    with open("sweep.yaml", "w") as f:
        f.write(SWEEP.format(method=method, python=sys.executable))
        for key, value in more.items():
            f.write(f"{key}: {value}\n")
    return cli("sweep", "sweep.yaml", ok=False)


def _sweep_id(text):
    for line in text.splitlines():
        if "wandb agent" in line:
            return line.split()[-1].strip().split("/")[-1].split("\x1b")[0]
    raise AssertionError("no sweep was made: " + text[-1500:])


def op_sweep_grid():
    name = _sweep_id(_sweep("grid"))
    cli("agent", f"{ENTITY}/{PROJECT}/{name}", timeout=300)
    sweep = api().sweep(path(name))
    runs = list(sweep.runs)
    check("runs", sorted((r.config["lr"], r.config["size"]) for r in runs), [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)])
    check("states", {r.state for r in runs}, {"finished"})
    check("best run", round(sweep.best_run().summary["loss"], 3), 0.1)
    if hasattr(sweep, "state"):
        check("sweep", sweep.state.upper(), "FINISHED")


def op_sweep_random():
    name = wandb.sweep(
        {
            "method": "random",
            "run_cap": 3,
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {"lr": {"min": 0.0, "max": 1.0}, "n": {"min": 1, "max": 5}},
        }
    )

    def train():
        run = wandb.init()
        run.log({"loss": run.config["lr"]})
        assert 1 <= run.config["n"] <= 5
        run.finish()

    wandb.agent(name, function=train, count=3)
    runs = wait_for(lambda: [r for r in api().sweep(path(name)).runs if r.state == "finished"])
    check("runs", len(runs), 3)


def op_sweep_bayes():
    text = _sweep("bayes")
    assert "controller" in text, text[-1500:]


def op_sweep_pause_cancel():
    name = _sweep_id(_sweep("grid"))
    for word, state in (("--resume", "RUNNING"), ("--pause", "PAUSED"), ("--resume", "RUNNING"), ("--cancel", "CANCELED")):
        cli("sweep", word, f"{ENTITY}/{PROJECT}/{name}")
        got = _ask(
            "query S($e: String, $p: String, $s: String!) { project(entityName: $e, name: $p) { sweep(sweepName: $s) { state } } }",
            {"e": ENTITY, "p": PROJECT, "s": name},
        )
        check(word, got["project"]["sweep"]["state"], state)


def op_users_teams():
    a = api()
    check("viewer", getattr(a.viewer, "entity", None) or a.viewer._attrs["entity"], ENTITY)
    check("projects", PROJECT in [p.name for p in a.projects(ENTITY)], True)
    check("team", a.team(ENTITY).name, ENTITY)
    assert a.user(a.viewer.username if hasattr(a.viewer, "username") else "local") is not None
    list(a.reports(f"{ENTITY}/{PROJECT}"))


def _uri():
    """A run that can be launched again: a program in a git repository."""
    return os.environ.get("WANDBLAUNCH_TEST_GIT")


def op_queues():
    a = api()
    if not hasattr(a, "create_run_queue"):
        absent("Api.create_run_queue")
    name = "q%d" % random.randrange(10**9)
    more = {"access": "project"} if "access" in inspect.signature(a.create_run_queue).parameters else {}
    a.create_run_queue(name=name, type="local-process", entity=ENTITY, **more)
    check("queue", a.run_queue(ENTITY, name).name, name)
    if hasattr(a, "upsert_run_queue"):
        a.upsert_run_queue(name=name, resource_type="local-process", resource_config={}, entity=ENTITY)


def op_launch_agent():
    """An item that W&B's CLI queues and W&B's agent runs, to its end."""
    if (0, 13) <= VERSION < (0, 15):
        absent("wandb job")
    with open("launched.py", "w") as f:
        f.write("import wandb\nr = wandb.init()\nr.log({'a': 1})\nr.finish()\n")
    queue = "l%d" % random.randrange(10**9)
    home = PROJECT if VERSION < (0, 13) else "model-registry"
    _ask(
        "mutation C($e: String!, $p: String!, $q: String!) { createRunQueue(input: {entityName: $e, projectName: $p, queueName: $q, access: PROJECT}) { queueID } }",
        {"e": ENTITY, "p": home, "q": queue},
    )
    more = ["--entity", ENTITY, "--project", PROJECT, "--queue", queue]
    if VERSION < (0, 13):
        cli("launch", os.getcwd(), *more, "--resource", "local-process", "-E", f"{sys.executable} launched.py")
    else:
        job = _job()
        cli("launch", "--job", job, *more, "--resource", "local-process")
    os.makedirs("agent", exist_ok=True)
    agent = subprocess.Popen(
        [sys.executable, "-m", "wandb", "launch-agent", "--entity", ENTITY, *(["--project", PROJECT] if VERSION < (0, 13) else []), "--queues" if VERSION < (0, 13) else "--queue", queue],
        stdout=open("agent.log", "w"),
        # The project that runs log to is not that of the queues.
        env={
            k: v
            for k, v in {**os.environ, "WANDB_SILENT": "false"}.items()
            if k != "WANDB_PROJECT" or VERSION < (0, 13)
        },
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd=os.getcwd(),
    )
    try:
        def ended():
            got = _ask(
                "query I($e: String, $p: String, $q: String!) { project(entityName: $e, name: $p) { runQueue(name: $q) { runQueueItems { edges { node { state associatedRunId error { message } } } } } } }",
                {"e": ENTITY, "p": home, "q": queue},
            )
            nodes = [n["node"] for n in got["project"]["runQueue"]["runQueueItems"]["edges"]]
            return nodes[0] if nodes and nodes[0]["state"] in ("FINISHED", "FAILED") else None

        try:
            item = wait_for(ended, 120)
        except AssertionError as e:
            raise AssertionError(f"{e}: {open('agent.log').read()[-2000:]}")
        check("item", (item["state"], item.get("error")), ("FINISHED", None))
    finally:
        os.killpg(agent.pid, signal.SIGKILL)


def _job():
    folder = "code-%d" % random.randrange(10**9)
    os.makedirs(folder)
    with open(folder + "/launched.py", "w") as f:
        f.write("import wandb\nr = wandb.init()\nr.log({'a': 1})\nr.finish()\n")
    with open(folder + "/requirements.txt", "w") as f:
        f.write("")
    name = "job-" + folder
    cli("job", "create", "code", folder, "--entity", ENTITY, "--project", PROJECT, "--name", name, "--entry-point", "launched.py" if VERSION < (0, 16) else "python launched.py", "--runtime", "3.11")
    return f"{ENTITY}/{PROJECT}/{name}:latest"


def op_jobs():
    if VERSION < (0, 15):
        absent("wandb job")
    job = _job()
    assert job.split("/")[-1].split(":")[0] in cli("job", "list", "--entity", ENTITY, "--project", PROJECT)
    cli("job", "describe", job)


def op_unknown_field():
    """What the server does not know is told by its name, and the client goes on."""
    a = api()
    try:
        if hasattr(a, "client"):
            from wandb_gql import gql
        else:
            absent("a client for documents of one's own")
        a.client.execute(gql("query X { viewer { id noSuchField } }"))
    except ImportError:
        absent("wandb_gql")
    except Exception as e:
        assert "noSuchField" in str(e), e
        logged(1)
        return
    raise AssertionError("an unknown field was answered")


if __name__ == "__main__":
    globals()["op_" + sys.argv[1]]()
    print("ok")
