# Reproduces a run from beginning to end on this machine: no account, no network.
# From the folder of the sources: dotnet run --project src/WandbLaunch.Shell -- docs/examples/quickstart.ps1
# -Resource local-container does the same in Docker.
param([string] $Resource = 'local-process', [string] $BaseImage)
$ErrorActionPreference = 'Stop'

# 1. A project: a git repository with one commit, and a change that was never committed.
$work = [System.IO.Directory]::CreateTempSubdirectory('wandblaunch-quickstart-').FullName
$repo = [System.IO.Path]::Combine($work, 'train')
$null = [System.IO.Directory]::CreateDirectory($repo)
$program = [System.IO.Path]::Combine($repo, 'train.py')
[System.IO.File]::Copy([System.IO.Path]::Combine($PSScriptRoot, 'quickstart', 'train.py'), $program)
[System.IO.File]::WriteAllText([System.IO.Path]::Combine($repo, 'requirements.txt'), "# this project needs no packages`n")
git -C $repo init --quiet --initial-branch main
git -C $repo -c core.autocrlf=false add .
git -C $repo -c user.name=Demo -c user.email=demo@example.org commit --quiet -m 'First version'
[System.IO.File]::WriteAllText($program, [System.IO.File]::ReadAllText($program).Replace('loss = 1.0', 'loss = 2.0  # changed, not committed'))
$commit = git -C $repo rev-parse HEAD

# 2. What the W&B SDK leaves on disk for an offline run of it: metadata, patch, packages, transaction log.
$run = [System.IO.Path]::Combine($repo, 'wandb', 'offline-run-20261124_070622-22stxuh9')
$files = [System.IO.Directory]::CreateDirectory([System.IO.Path]::Combine($run, 'files')).FullName
[System.IO.File]::Copy([System.IO.Path]::Combine($PSScriptRoot, 'quickstart', 'run-22stxuh9.wandb'), [System.IO.Path]::Combine($run, 'run-22stxuh9.wandb'))
[System.IO.File]::WriteAllText([System.IO.Path]::Combine($files, 'diff.patch'), ((git -C $repo diff) -join "`n") + "`n")
[System.IO.File]::WriteAllText([System.IO.Path]::Combine($files, 'requirements.txt'), '')
$remote = 'file:///' + $repo.Replace('\', '/').TrimStart('/')
[System.IO.File]::WriteAllText([System.IO.Path]::Combine($files, 'wandb-metadata.json'), @"
{
    "os": "Linux", "python": "3", "program": "train.py", "codePath": "train.py", "state": "running",
    "args": ["--lr", "0.1", "--epochs", "3", "--name", "two words"],
    "git": { "remote": "$remote", "commit": "$commit" }
}
"@)

# 3. The local launch server, and the run in it.
$null = Connect-Wandb -Local
$original = Import-WandbRun $run
$original | Out-Default

# 4. The same run again: same commit, same uncommitted change, same arguments. Then with one argument changed.
$more = @{}
if ($BaseImage) { $more.BaseImage = $BaseImage }
$again = Start-WandbLaunch $original.Uri -Resource $Resource -Quiet @more
$changed = Start-WandbLaunch $original.Uri -Resource $Resource -Quiet -Argument @{ lr = 0.5 } @more

# 5. Both results.
$again, $changed | Out-Default
foreach ($one in $again, $changed) {
    "$($one.Id): $($one | Receive-WandbLaunchLog -Tail 1)"
}

[System.IO.Directory]::Delete($work, $true)
