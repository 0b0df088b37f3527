# Queues and agents on this machine, from beginning to end: no account, no network.
# From the folder of the sources: dotnet run --project src/WandbLaunch.Shell -- docs/examples/queues.ps1
$ErrorActionPreference = 'Stop'

# 1. A repository whose program takes arguments; one of its runs will fail.
$repo = [System.IO.Directory]::CreateTempSubdirectory('wandblaunch-queues-').FullName
[System.IO.File]::WriteAllText([System.IO.Path]::Combine($repo, 'main.py'), @'
import sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("lr", arguments["--lr"], "layers", arguments["--layers"])
sys.exit(3 if arguments["--lr"] == "1" else 0)
'@)
[System.IO.File]::WriteAllText([System.IO.Path]::Combine($repo, 'requirements.txt'), "# this project needs no packages`n")
git -C $repo init --quiet
git -C $repo add .
git -C $repo -c user.name=Demo -c user.email=demo@example.org commit --quiet -m 'First version'
$uri = 'file:///' + $repo.Replace('\', '/').TrimStart('/')

# 2. A server, a queue, and every combination of two arguments in it.
$null = Connect-Wandb -Local
if (-not (Get-WandbRunQueue demo*)) { $null = New-WandbRunQueue demo }
Get-WandbLaunchQueueItem demo -State pending | Remove-WandbLaunchQueueItem -Confirm:$false
$items = Add-WandbLaunchQueueItem $uri -Queue demo -Resource local-process -Grid @{ lr = 0.1, 1; layers = 2, 4 }

# 3. An agent that works the queue off, two at a time. Its policy lets it run processes, and code of this disk.
Start-WandbLaunchAgent -Queue demo -MaxJobs 2 -AllowResource local-process -AllowGitHost file -StopWhenEmpty

# 4. What became of each.
Get-WandbLaunchQueueItem demo -Id $items.Id | Out-Default
"exit code of the agent: $LASTEXITCODE (2: some of its runs failed)"
[System.IO.Directory]::Delete($repo, $true)
exit 0
