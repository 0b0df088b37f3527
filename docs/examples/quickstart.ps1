# Reproduces a run from beginning to end on this machine: no account, no network.
# Everything on a fresh machine: dotnet run --project build -- quickstart
# -Resource local-container does the same in Docker.
param(
    [string] $Resource = 'local-process',
    [string] $BaseImage
)

$ErrorActionPreference = 'Stop'
if (-not (Get-Module WandbLaunch)) { Import-Module "$PSScriptRoot/../../out/WandbLaunch" }

# 1. A project: a git repository with one commit, a change that was never committed, and what the W&B SDK leaves on disk for
#    an offline run of it.
$work = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-quickstart-$(New-Guid)")
$run = & "$PSScriptRoot/quickstart/New-OfflineRun.ps1" $work

# 2. The local launch server, and the run in it.
Connect-Wandb -Local | Out-Null
$original = Import-WandbRun $run
$original | Format-Table

# 3. The same run again: same commit, same uncommitted change, same arguments. Then with one argument changed.
$options = @{ Resource = $Resource; Quiet = $true }
if ($BaseImage) { $options.BaseImage = $BaseImage }
$again = Start-WandbLaunch $original.Uri @options
$changed = Start-WandbLaunch $original.Uri @options -Argument @{ lr = 0.5 }

# 4. Both results.
$again, $changed | Format-Table
$again, $changed | ForEach-Object {
    "$($_.Id): $($_.Arguments -join ' ')"
    "$($_.Id): $($_ | Receive-WandbLaunchLog -Tail 1)"
}

Remove-Item $work -Recurse -Force
