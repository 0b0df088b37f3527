# The table of a paper: every combination, two seeds each, and the means. Guide: docs/guides/ablation-grid.md
# First, in the folder of the sources: dotnet build
$ErrorActionPreference = 'Stop'
if (-not (Get-Module WandbLaunch)) { Import-Module "$PSScriptRoot/../../out/WandbLaunch" }
$work = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-ablation-$(New-Guid)")
$uri = & "$PSScriptRoot/demo/New-DemoRepository.ps1" (Join-Path $work train)
Connect-Wandb -Local | Out-Null
if (-not (Get-WandbRunQueue ablation*)) { New-WandbRunQueue ablation | Out-Null }

# 1. Eight items of one line: two by two by two.
$grid = @{ dropout = 0.0, 0.1; layers = 2, 4; seed = 1, 2 }
$items = Add-WandbLaunchQueueItem $uri -EntryPoint 'python train.py' -Resource local-process -Queue ablation -Grid $grid
"queued: $($items.Count)"

# 2. Any number of agents on any number of machines take them; here it is one, four at a time.
$events = Start-WandbLaunchAgent -Queue ablation -MaxJobs 4 -AllowResource local-process -AllowGitHost file -StopWhenEmpty

# 3. One row for each run, from what each printed.
$runs = $events | Where-Object Kind -EQ RunFinished | ForEach-Object {
    $row = [ordered]@{}
    $words = $_.Run.Arguments
    for ($i = 0; $i -lt $words.Count; $i += 2) { $row[$words[$i].TrimStart('-')] = $words[$i + 1] }
    $row.loss = ($_ | Receive-WandbLaunchLog -Tail 1 | ConvertFrom-Json).loss
    [pscustomobject]$row
}

# 4. The table: the mean over the seeds, the best first.
$table = $runs | Group-Object dropout, layers | ForEach-Object {
    [pscustomobject]@{
        dropout = $_.Group[0].dropout
        layers  = $_.Group[0].layers
        seeds   = $_.Count
        loss    = [Math]::Round(($_.Group | Measure-Object loss -Average).Average, 3)
    }
} | Sort-Object loss
$table | Format-Table
$table | Export-Csv (Join-Path $work table.csv)

Remove-WandbRunQueue ablation -Confirm:$false
Remove-Item $work -Recurse -Force
exit 0
