<#
.SYNOPSIS
Runs the Windows tests: on Windows itself, elsewhere in Wine. The line "windows: N passed, N failed, N skipped" goes to out/test-results/windows.leg.
#>
[CmdletBinding()]
param(
    [string] $Configuration = 'Debug',
    # Further words for xunit's runner: -class NAME, -method NAME.
    [string[]] $Argument
)

$ErrorActionPreference = 'Stop'
$root = Split-Path $PSScriptRoot
$results = Join-Path $root out/test-results
$null = New-Item -ItemType Directory $results -Force
$trx = Join-Path $results windows.xml
Remove-Item $trx -ErrorAction Ignore
$program = Join-Path $root "tests/WandbLaunch.WindowsTests/bin/$Configuration/net10.0/WandbLaunch.WindowsTests.exe"
$start = [Diagnostics.ProcessStartInfo]::new()
$start.WorkingDirectory = Split-Path $program
$start.RedirectStandardError = $true
$session = [string][guid]::NewGuid()
$start.Environment['WANDBLAUNCH_TEST_SESSION'] = $session
if ($IsWindows) {
    $start.FileName = $program
} else {
    $cache = if ($env:XDG_CACHE_HOME) { $env:XDG_CACHE_HOME } else { Join-Path $HOME .cache }
    $start.FileName = 'wine'
    $start.ArgumentList.Add($program)
    $start.Environment['WINEPREFIX'] = & $root/tests/engines/wine-up.sh $cache/wandblaunch-wine
    if ($LASTEXITCODE) { throw 'There is no Wine.' }
    $start.Environment['WINEDEBUG'] = '-all'
    # Of this system's own .NET.
    @($start.Environment.Keys) -like 'DOTNET_*' | ForEach-Object { $null = $start.Environment.Remove($_) }
    # No pages of registers when a program ends by a fault, as some are to.
    $start.Environment['WINEDLLOVERRIDES'] = 'winedbg.exe='
    # A path of this system is one of drive Z: there.
    $windows = { 'Z:' + ((Resolve-Path -LiteralPath $args[0]).Path -replace '/', '\') }
    $start.Environment['DOTNET_ROOT'] = & $windows $root/out/windows/dotnet
    # Without it the runtime ends in Wine after some seconds.
    $start.Environment['DOTNET_EnableWriteXorExecute'] = '0'
    # There is no git in Wine.
    $repository = Join-Path $root out/windows/repository
    if (-not (Test-Path $repository)) { git clone --quiet (Join-Path $root tests/data/sdk-run-v0.12.21/train.bundle) $repository }
    $start.Environment['WANDBLAUNCH_TEST_REPOSITORY'] = & $windows $repository
    $trx = (& $windows $results) + '\windows.xml'
}

foreach ($word in @($Argument) + '-noColor', '-xml', $trx) { if ($word) { $start.ArgumentList.Add($word) } }
$clock = [Diagnostics.Stopwatch]::StartNew()
$process = [Diagnostics.Process]::Start($start)
$said = $process.StandardError.ReadToEndAsync()
$ended = $process.WaitForExit([timespan]::FromMinutes(10))
if (-not $ended) { $process.Kill($true) }

$file = Join-Path $results windows.xml
$tests = if ($ended -and (Test-Path $file)) { @(([xml](Get-Content -LiteralPath $file -Raw)).SelectNodes('//test')) }
$count = { param($Result) @($tests | Where-Object result -EQ $Result).Count }
$more = @()
if (-not $ended) { $more += 'They did not end in ten minutes.' }
elseif (-not $tests) { $more += "No test ran, or their process ended before they did ($($process.ExitCode)): $(($said.Result -split "`n" | Select-Object -First 5) -join ' ')" }
elseif ($process.ExitCode -and -not (& $count Fail)) { $more += "The runner ended with $($process.ExitCode)." }
if (-not $IsWindows) {
    # What was told to end just now may take a moment. Wine's own services end when they like, seconds after the last program
    # or not at all: they are sent away, and then nothing may be left.
    $wait = {
        param([string] $Except)
        for ($tries = 0; $tries -lt 50; $tries++) {
            $left = @(& $root/tests/Get-LeftProcess.ps1 $session | Where-Object { -not $Except -or $_ -notmatch $Except })
            if (-not $left) { return }
            Start-Sleep -Milliseconds 200
        }
        $left
    }
    $more += & $wait '^process \d+: (C:\\windows\\system32\\|\S*wineserver)' | ForEach-Object { "Left behind: $_" }
    $env:WINEPREFIX = $start.Environment['WINEPREFIX']
    wineserver -k
    $more += & $wait '' | ForEach-Object { "Left behind by Wine: $_" }
}

$more | ForEach-Object { Write-Host "FAILED $_" }
$name = if ($IsWindows) { 'Windows' } else { 'Windows under Wine' }
$line = '{0}: {1} passed, {2} failed, {3} skipped' -f $name, (& $count Pass), ((& $count Fail) + $more.Count), (& $count Skip)
$names = $tests | Where-Object result -EQ Fail | ForEach-Object { "FAILED ${name}: $($_.name): $(("$($_.failure.message.InnerText)".Trim() -split '\r?\n')[0])" }
Set-Content (Join-Path $results windows.leg) @($more | ForEach-Object { "FAILED ${name}: $_" }; $names; $line)
Write-Host ('{0} ({1:0} s)' -f $line, $clock.Elapsed.TotalSeconds)
if ($more -or (& $count Fail)) { throw 'Not all Windows tests passed.' }
