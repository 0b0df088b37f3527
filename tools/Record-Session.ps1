# Records a real session of the built module and draws it: docs/session.svg, the picture of the README.
#   dotnet run --project build -- Recording
# The commands are those below; what they print, its colours and when it came are what was measured. Only how long a command
# takes to type is made up.
param(
    [string] $Path = "$PSScriptRoot/../docs/session.svg",
    [int] $Columns = 112,
    [int] $Rows = 30
)

$ErrorActionPreference = 'Stop'
$commands = @(
    'Connect-Wandb -Local'
    'Import-WandbRun ./train/wandb/offline-run-20261124_070622-22stxuh9'
    'Get-WandbRun -Project demo | Start-WandbLaunch -Argument @{ lr = 0.5 } -Resource local-process -Quiet'
    'Get-WandbLaunch | Receive-WandbLaunchLog -Tail 1'
    "Get-WandbRun -Project demo -State finished | Add-WandbLaunchQueueItem -Queue gpu -Resource local-process -Grid @{ lr = 0.1, 0.2 }"
    'Start-WandbLaunchAgent -Queue gpu -AllowResource local-process -AllowGitHost file -StopWhenEmpty'
    'Get-WandbLaunchQueueItem gpu'
)

# A home of its own, which is gone afterwards, and a working folder of a short name.
$temporary = New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-recording-$(New-Guid)")
'WANDB_API_KEY', 'WANDB_BASE_URL', 'WANDB_ENTITY', 'WANDB_PROJECT' | ForEach-Object { [Environment]::SetEnvironmentVariable($_, $null) }
$env:WANDBLAUNCH_HOME = Join-Path $temporary home
$env:WANDB_CONFIG_DIR = Join-Path $temporary config
$env:NETRC = Join-Path $temporary netrc
Import-Module "$PSScriptRoot/../out/WandbLaunch"
& "$PSScriptRoot/../docs/examples/quickstart/New-OfflineRun.ps1" $temporary | Out-Null
Set-Location $temporary
$PSStyle.OutputRendering = 'Ansi'

$lines = [Collections.Generic.List[object]]::new()
$clock = 0.5
try {
    # What a session has behind it: the queue, and a first launch that has made the environment of the packages.
    Connect-Wandb -Local | Out-Null
    New-WandbRunQueue gpu | Out-Null
    Disconnect-Wandb
    foreach ($command in $commands) {
        $lines.Add(@{ At = $clock; Text = $command; Typed = $true })
        $clock += 0.035 * $command.Length + 0.3
        $watch = [Diagnostics.Stopwatch]::StartNew()
        Invoke-Expression $command | Out-String -Stream -Width ($Columns - 1) | ForEach-Object {
            $lines.Add(@{ At = $clock + $watch.Elapsed.TotalSeconds; Text = $_.TrimEnd() })
        }
        $clock += $watch.Elapsed.TotalSeconds + 1.2
    }
    $lines.Add(@{ At = $clock; Text = ''; Typed = $true })
} finally {
    Get-WandbLaunchServer | Where-Object Running | Stop-WandbLaunchServer
    Set-Location $PSScriptRoot
    Remove-Item $temporary -Recurse -Force
}

# Two empty lines behind each other are one: a window is small.
$shown = [Collections.Generic.List[object]]::new()
foreach ($line in $lines) {
    $plain = $line.Text -replace '\e\[[0-9;]*m'
    $blank = -not $plain -and -not $line.Typed
    if (-not ($blank -and $shown.Count -and $shown[-1].Blank)) { $shown.Add($line + @{ Blank = $blank }) }
}

function Format-Text([string] $Text) { [Security.SecurityElement]::Escape($Text) }

$colours = @{ 31 = '#f47067'; 32 = '#8ddb8c'; 33 = '#f69d50'; 34 = '#6cb6ff'; 35 = '#dcbdfb'; 36 = '#96d0ff'; 90 = '#768390' }
function ConvertTo-Span([string] $Text) {
    $style = ''
    foreach ($part in [regex]::Split($Text, '(\e\[[0-9;]*m)')) {
        if ($part -match '^\e\[([0-9;]*)m$') {
            $codes = $Matches[1] -split ';' | ForEach-Object { [int]"0$_" }
            $colour = $codes | Where-Object { $colours.ContainsKey($_) } | Select-Object -Last 1
            $style = if ($colour) { " fill=`"$($colours[$colour])`"" } else { '' }
            if ($codes -contains 1) { $style += ' font-weight="bold"' }
        } elseif ($part) { "<tspan$style>$(Format-Text $part)</tspan>" }
    }
}

$wide = 8.0
$high = 18
$width = [int]($Columns * $wide + 32)
$height = $Rows * $high + 52
$end = $clock + 4
$scroll = [Text.StringBuilder]::new()
$body = [Text.StringBuilder]::new()
$number = 0
$culture = [Globalization.CultureInfo]::InvariantCulture
foreach ($line in $shown) {
    $y = $number * $high + 14
    $at = $line.At.ToString('0.00', $culture)
    $content = if ($line.Typed) { '<tspan fill="#6cb6ff">PS&gt; </tspan>' + $(if ($line.Text) { "<tspan fill=`"#f0e68c`">$(Format-Text $line.Text)</tspan>" } else { '<tspan>▊</tspan>' }) } else { -join (ConvertTo-Span $line.Text) }
    $null = $body.AppendLine("<text class=`"l`" xml:space=`"preserve`" y=`"$y`" style=`"animation-delay:${at}s`">$content</text>")
    $number++
    if ($number -gt $Rows) {
        $percent = (100 * $line.At / $end).ToString('0.000', $culture)
        $null = $scroll.Append("$percent%{transform:translateY(-$(($number - $Rows) * $high)px)}")
    }
}
$last = [Math]::Max(0, $number - $Rows) * $high
$svg = @"
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" height="$height" role="img" aria-label="A session in pwsh: a run is imported, reproduced with another argument, queued twice, and worked off by an agent.">
<style>
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#cdd9e5}
.l{opacity:0;animation:show 1ms linear forwards}
.s{animation:scroll $($end.ToString('0.00', $culture))s step-end forwards}
@keyframes show{to{opacity:1}}
@keyframes scroll{0%{transform:translateY(0)}${scroll}100%{transform:translateY(-${last}px)}}
@media (prefers-reduced-motion:reduce){.l{opacity:1;animation:none}.s{animation:none;transform:translateY(-${last}px)}}
</style>
<rect width="$width" height="$height" rx="8" fill="#22272e"/>
<circle cx="18" cy="17" r="5" fill="#f47067"/><circle cx="36" cy="17" r="5" fill="#f69d50"/><circle cx="54" cy="17" r="5" fill="#8ddb8c"/>
<text x="$($width / 2)" y="21" text-anchor="middle" style="fill:#768390">pwsh</text>
<svg x="16" y="36" width="$($width - 32)" height="$($Rows * $high)">
<g class="s">
$($body.ToString().TrimEnd())
</g>
</svg>
</svg>
"@
Set-Content $Path ($svg -replace "`r`n", "`n")
"$([IO.Path]::GetFullPath($Path)): $($shown.Count) lines, $([int]$end) s"
