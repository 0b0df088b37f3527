# An agent on a server, as a service and as a task that ends by itself. Guide: docs/guides/windows-server.md
# It runs on every system: -WhatIf shows what this one would be told. First, in the folder of the sources: dotnet build
$ErrorActionPreference = 'Stop'
if (-not (Get-Module WandbLaunch)) { Import-Module "$PSScriptRoot/../../out/WandbLaunch" }
$work = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-server-$(New-Guid)")
$uri = & "$PSScriptRoot/demo/New-DemoRepository.ps1" (Join-Path $work train)
Connect-Wandb -Local | Out-Null
if (-not (Get-WandbRunQueue server*)) { New-WandbRunQueue server | Out-Null }

# 1. The agent that is always there: a scheduled task on Windows, a unit of systemd or launchd elsewhere.
$service = Register-WandbLaunchAgent -Name server -Queue server -MaxJobs 2 -AllowResource local-process -AllowGitHost file -WhatIf
"service: $($service.Path)"
$service.Activation

# 2. The agent of the night: a script of your own that a task starts. It takes what is there, begins nothing after seven in
#    the morning, and its exit code says how it went: 0 all good, 2 some runs failed.
Set-Content (Join-Path $work night.ps1) @"
Import-Module '$((Get-Module WandbLaunch).ModuleBase)'
Connect-Wandb -Local | Out-Null
Start-WandbLaunchAgent -Name night -Queue server -AllowResource local-process -AllowGitHost file -StopWhenEmpty -Until ([DateTime]::Today.AddDays(1).AddHours(7)) -Quiet | Out-Null
exit `$LASTEXITCODE
"@
Add-WandbLaunchQueueItem $uri -EntryPoint 'python train.py' -Resource local-process -Queue server | Out-Null
Add-WandbLaunchQueueItem $uri -EntryPoint 'python missing.py' -Resource local-process -Queue server | Out-Null

# 3. The task starts this line. On Windows it is registered so, by an administrator:
$pwsh = [Environment]::ProcessPath
$words = @(if ((Split-Path $pwsh -LeafBase) -ne 'pwsh') { Join-Path $PSHOME pwsh.dll }) + '-NoProfile', '-NonInteractive', '-File', (Join-Path $work night.ps1)
if ($IsWindows) {
    $action = New-ScheduledTaskAction -Execute $pwsh -Argument ($words -join ' ')
    $trigger = New-ScheduledTaskTrigger -Daily -At 22:00
    "task: $($action.Execute) $($action.Arguments) at $($trigger.StartBoundary)"
    # Register-ScheduledTask -TaskName 'W&B night' -Action $action -Trigger $trigger -User launcher -Password …
}
& $pwsh @words
"exit code of the night: $LASTEXITCODE"
Get-WandbLaunchQueueItem server | Format-Table

Get-WandbLaunchQueueItem server | Group-Object State -NoElement | Format-Table
Remove-WandbRunQueue server -Confirm:$false
Remove-Item $work -Recurse -Force
exit 0
