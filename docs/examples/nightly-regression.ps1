# Last month's runs, each run again, and what has become of their results. Guide: docs/guides/nightly-regression.md
# First, in the folder of the sources: dotnet build
param(
    # Columns: Uri, Arguments, Loss. By default three are made up here; the last of them has become worse.
    [string] $List,
    # How far a loss may be from the one that is known.
    [double] $Tolerance = 0.001,
    [string] $Report = (Join-Path ([IO.Path]::GetTempPath()) 'regression.csv')
)

$ErrorActionPreference = 'Stop'
if (-not (Get-Module WandbLaunch)) { Import-Module "$PSScriptRoot/../../out/WandbLaunch" }
$work = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-nightly-$(New-Guid)")
Connect-Wandb -Local | Out-Null
if (-not $List) {
    $uri = & "$PSScriptRoot/demo/New-DemoRepository.ps1" (Join-Path $work train)
    $List = Join-Path $work list.csv
    @(
        [pscustomobject]@{ Uri = $uri; Arguments = '--lr 0.1 --seed 1'; Loss = 0.8013 }
        [pscustomobject]@{ Uri = $uri; Arguments = '--lr 0.05 --layers 4 --seed 1'; Loss = 0.3513 }
        [pscustomobject]@{ Uri = $uri; Arguments = '--lr 0.1 --dropout 0.1 --seed 1'; Loss = 0.5 }
    ) | Export-Csv $List
}

# A run that fails is a line of the report and no end of the night.
$results = foreach ($known in Import-Csv $List) {
    $run = Start-WandbLaunch $known.Uri -EntryPoint 'python train.py' -Argument ($known.Arguments -split ' ') -Resource local-process -Quiet -ErrorAction SilentlyContinue -ErrorVariable fault
    $loss = if ($run.State -eq 'Finished') { ($run | Receive-WandbLaunchLog -Tail 1 | ConvertFrom-Json).loss }
    [pscustomobject]@{
        Arguments = $known.Arguments
        Commit    = $run.Commit
        Before    = [double]$known.Loss
        Now       = $loss
        Verdict   = if ($null -eq $loss) { "failed: $(($fault[0].FullyQualifiedErrorId -split ',')[0])" } elseif ([Math]::Abs($loss - $known.Loss) -le $Tolerance) { 'same' } else { 'changed' }
    }
}
$results | Export-Csv $Report
$results | Format-Table Verdict, Before, Now, Arguments
"report: $Report"

Remove-Item $work -Recurse -Force
# For the scheduler: 0 when nothing has changed.
exit [int][bool]($results | Where-Object Verdict -NE same)
