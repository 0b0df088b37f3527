# A project in a folder: a git repository with one commit and a change that was never committed, and in it what the W&B SDK
# leaves on disk for an offline run: metadata, patch, packages, transaction log. Writes the run's folder.
param([Parameter(Mandatory)] [string] $Path)

$repo = New-Item -ItemType Directory (Join-Path $Path train)
$program = Join-Path $repo train.py
Copy-Item "$PSScriptRoot/train.py" $program
Set-Content (Join-Path $repo requirements.txt) '# this project needs no packages'
git -C $repo init --quiet --initial-branch main
git -C $repo -c core.autocrlf=false add .
git -C $repo -c user.name=Demo -c user.email=demo@example.org commit --quiet -m 'First version'
$commit = git -C $repo rev-parse HEAD
(Get-Content $program -Raw).Replace('loss = 1.0', 'loss = 2.0  # changed, not committed') | Set-Content $program -NoNewline

$run = New-Item -ItemType Directory (Join-Path $repo wandb offline-run-20261124_070622-22stxuh9)
$files = New-Item -ItemType Directory (Join-Path $run files)
Copy-Item "$PSScriptRoot/run-22stxuh9.wandb" $run
git -C $repo diff --output (Join-Path $files diff.patch)
New-Item (Join-Path $files requirements.txt) | Out-Null
@{
    os       = 'Linux'
    python   = '3'
    program  = 'train.py'
    codePath = 'train.py'
    state    = 'running'
    args     = '--lr', '0.1', '--epochs', '3', '--name', 'two words'
    git      = @{ remote = [uri]::new($repo.FullName).AbsoluteUri; commit = $commit }
} | ConvertTo-Json | Set-Content (Join-Path $files wandb-metadata.json)
$run
