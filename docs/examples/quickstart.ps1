# Reproduces a run from beginning to end on this machine: no account, no network.
# Everything on a fresh machine: dotnet run --project build -- quickstart
# -Resource local-container does the same in Docker.
param(
    [string] $Resource = 'local-process',
    [string] $BaseImage
)

$ErrorActionPreference = 'Stop'
Import-Module "$PSScriptRoot/../../out/WandbLaunch"

# 1. A project: a git repository with one commit, and a change that was never committed.
$work = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-quickstart-$(New-Guid)")
$repo = New-Item -ItemType Directory (Join-Path $work train)
$program = Join-Path $repo train.py
Copy-Item "$PSScriptRoot/quickstart/train.py" $program
Set-Content (Join-Path $repo requirements.txt) '# this project needs no packages'
git -C $repo init --quiet --initial-branch main
git -C $repo -c core.autocrlf=false add .
git -C $repo -c user.name=Demo -c user.email=demo@example.org commit --quiet -m 'First version'
$commit = git -C $repo rev-parse HEAD
(Get-Content $program -Raw).Replace('loss = 1.0', 'loss = 2.0  # changed, not committed') | Set-Content $program -NoNewline

# 2. What the W&B SDK leaves on disk for an offline run of it: metadata, patch, packages, transaction log.
$run = New-Item -ItemType Directory (Join-Path $repo wandb offline-run-20261124_070622-22stxuh9)
$files = New-Item -ItemType Directory (Join-Path $run files)
Copy-Item "$PSScriptRoot/quickstart/run-22stxuh9.wandb" $run
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

# 3. The local launch server, and the run in it.
Connect-Wandb -Local | Out-Null
$original = Import-WandbRun $run
$original | Format-Table

# 4. The same run again: same commit, same uncommitted change, same arguments. Then with one argument changed.
$options = @{ Resource = $Resource; Quiet = $true }
if ($BaseImage) { $options.BaseImage = $BaseImage }
$again = Start-WandbLaunch $original.Uri @options
$changed = Start-WandbLaunch $original.Uri @options -Argument @{ lr = 0.5 }

# 5. Both results.
$again, $changed | Format-Table
$again, $changed | ForEach-Object { "$($_.Id): $($_ | Receive-WandbLaunchLog -Tail 1)" }

Remove-Item $work -Recurse -Force
