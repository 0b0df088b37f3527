# What "wandb launch" does, line by line in PowerShell. Guide: docs/guides/from-the-cli.md
# First, in the folder of the sources: dotnet build
$ErrorActionPreference = 'Stop'
if (-not (Get-Module WandbLaunch)) { Import-Module "$PSScriptRoot/../../out/WandbLaunch" }
$work = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-cli-$(New-Guid)")
$uri = & "$PSScriptRoot/demo/New-DemoRepository.ps1" (Join-Path $work train)

# wandb login --host http://localhost:8080
Connect-Wandb -Local | Out-Null

# wandb launch -u URI -E "python train.py" -a lr=0.2 -r local-process
$run = Start-WandbLaunch $uri -EntryPoint 'python train.py' -Argument lr=0.2 -Resource local-process -Quiet
"launched: $($run.State), $($run | Receive-WandbLaunchLog -Tail 1)"

# wandb launch -c launch.json: the same file, unchanged
@{ uri = $uri; resource = 'local-process'; overrides = @{ args = @('--lr', '0.3'); entry_point = @('python', 'train.py') } } |
    ConvertTo-Json -Depth 5 | Set-Content (Join-Path $work launch.json)
$run = Start-WandbLaunch -Config (Join-Path $work launch.json) -Quiet
"from a file: $($run.State), $($run.Arguments -join ' ')"

# wandb launch -u URI -E "python train.py" -a lr=0.2 -q cli
if (-not (Get-WandbRunQueue cli*)) { New-WandbRunQueue cli | Out-Null }
$item = Add-WandbLaunchQueueItem $uri -EntryPoint 'python train.py' -Argument lr=0.2 -Resource local-process -Queue cli
"queued: $($item.State)"

# wandb job create code ./train -E "python train.py" -n train, and: wandb launch -j … -q cli
$job = New-WandbLaunchJob (Join-Path $work train) -EntryPoint 'python train.py' -Project demo
$second = $job | Add-WandbLaunchQueueItem -Resource local-process -Argument lr=0.05 -Queue cli
"job: $($job.Name)"

# wandb launch-agent -q cli -j 2, that ends when the queue is empty
Start-WandbLaunchAgent -Queue cli -MaxJobs 2 -AllowResource local-process -AllowGitHost file -StopWhenEmpty -Quiet | Out-Null
Get-WandbLaunchQueueItem cli -Id $item.Id, $second.Id | Format-Table

Remove-Item $work -Recurse -Force
exit 0
