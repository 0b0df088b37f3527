# Queues and agents on this machine, from beginning to end: no account, no network.
# First, in the folder of the sources: dotnet build
$ErrorActionPreference = 'Stop'
if (-not (Get-Module WandbLaunch)) { Import-Module "$PSScriptRoot/../../out/WandbLaunch" }

# 1. A repository whose program takes arguments; one of its values makes the program fail.
$repo = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-queues-$(New-Guid)")
Set-Content (Join-Path $repo main.py) @'
import sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("lr", arguments["--lr"], "layers", arguments["--layers"])
sys.exit(3 if arguments["--lr"] == "1" else 0)
'@
Set-Content (Join-Path $repo requirements.txt) '# this project needs no packages'
git -C $repo init --quiet
git -C $repo add .
git -C $repo -c user.name=Demo -c user.email=demo@example.org commit --quiet -m 'First version'
$uri = [uri]::new($repo.FullName).AbsoluteUri

# 2. A server, a queue, and every combination of two arguments in it.
Connect-Wandb -Local | Out-Null
if (-not (Get-WandbRunQueue demo*)) { New-WandbRunQueue demo | Out-Null }
Get-WandbLaunchQueueItem demo -State pending | Remove-WandbLaunchQueueItem -Confirm:$false
$items = Add-WandbLaunchQueueItem $uri -Queue demo -Resource local-process -Grid @{ lr = 0.1, 1; layers = 2, 4 }

# 3. An agent that works the queue off, two at a time. Its policy lets it run processes, and code of this disk.
Start-WandbLaunchAgent -Queue demo -MaxJobs 2 -AllowResource local-process -AllowGitHost file -StopWhenEmpty | Format-Table
"exit code of the agent: $LASTEXITCODE (2: some of its runs failed)"

# 4. What became of each.
Get-WandbLaunchQueueItem demo -Id $items.Id | Format-Table

Remove-Item $repo -Recurse -Force
exit 0
