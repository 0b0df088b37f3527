# A small project as a git repository in a folder of its own: what the guides' scripts launch. Its program needs no packages,
# prints one JSON line with its result, and is the same on every machine.
param([Parameter(Mandatory)] [string] $Path)

$repo = New-Item -ItemType Directory $Path -Force
Set-Content (Join-Path $repo train.py) @'
import argparse, json, os, random

p = argparse.ArgumentParser()
p.add_argument("--lr", type=float, default=0.1)
p.add_argument("--layers", type=int, default=2)
p.add_argument("--dropout", type=float, default=0.0)
p.add_argument("--seed", type=int, default=0)
a = p.parse_args()
random.seed(a.seed)
loss = abs(a.lr - 0.05) * 4 + 1 / a.layers + abs(a.dropout - 0.1) + random.random() / 100
print(json.dumps({"loss": round(loss, 4), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "")}))
'@
Set-Content (Join-Path $repo requirements.txt) '# this project needs no packages'
git -C $repo init --quiet --initial-branch main
git -C $repo add .
git -C $repo -c user.name=Demo -c user.email=demo@example.org commit --quiet -m 'First version'
[uri]::new($repo.FullName).AbsoluteUri
