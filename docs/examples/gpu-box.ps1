# A box with two GPUs that a team sends runs to. Guide: docs/guides/gpu-box.md
# First, in the folder of the sources: dotnet build
param(
    # The demo takes two GPUs for granted; on a real box leave this empty, and nvidia-smi is asked.
    [string] $Gpus = '0,1'
)

$ErrorActionPreference = 'Stop'
if (-not (Get-Module WandbLaunch)) { Import-Module "$PSScriptRoot/../../out/WandbLaunch" }
$work = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-gpu-$(New-Guid)")
$uri = & "$PSScriptRoot/demo/New-DemoRepository.ps1" (Join-Path $work train)
if ($Gpus) { $env:WANDBLAUNCH_GPUS = $Gpus }

# 1. The box's admin: a server, and a queue in which some runs matter more than others.
Connect-Wandb -Local | Out-Null
Get-WandbRunQueue team* | Remove-WandbRunQueue -Confirm:$false
New-WandbRunQueue team -Resource local-process -PrioritizationMode V0 | Out-Null

# 2. The team, each from a machine of their own: runs, and one that must not wait.
1..3 | ForEach-Object { Add-WandbLaunchQueueItem $uri -EntryPoint 'python train.py' -Argument "seed=$_" -Resource local-process -Queue team -Priority low } | Out-Null
Add-WandbLaunchQueueItem $uri -EntryPoint 'python train.py' -Argument seed=99 -Resource local-process -Queue team -Priority critical | Out-Null

# 3. The agent: two runs at a time, each with a GPU of its own. Here it ends when the queue is empty.
$events = Start-WandbLaunchAgent -Queue team -MaxJobs 2 -GpusPerJob 1 -AllowResource local-process -AllowGitHost file -StopWhenEmpty
$events | Where-Object Kind -EQ RunFinished | ForEach-Object {
    [pscustomobject]@{ Item = $_.ItemId; Arguments = $_.Run.Arguments -join ' '; Result = $_ | Receive-WandbLaunchLog -Tail 1 }
} | Format-Table

# 4. What the service would be: leave out -WhatIf on the box.
Register-WandbLaunchAgent -Name team -Queue team -MaxJobs 2 -GpusPerJob 1 -WhatIf | Format-List Path, Activation

Remove-WandbRunQueue team -Confirm:$false
if ($Gpus) { $env:WANDBLAUNCH_GPUS = $null }
Remove-Item $work -Recurse -Force
exit 0
