<#
.SYNOPSIS
Runs files of Pester's tests in a pwsh that is named, two at a time, and counts what became of them.
.DESCRIPTION
The line "NAME: N passed, N failed, N skipped" is written, and to out/test-results/NAME.leg too. -WithoutDotnet: the machine's
dotnet is not to be seen, and there is another home folder. -Module: the folder of the module that is tested.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory)] [string] $Name,
    [Parameter(Mandatory)] [string] $Pwsh,
    [Parameter(Mandatory)] [string[]] $File,
    [string] $Module,
    [switch] $WithoutDotnet
)

$ErrorActionPreference = 'Stop'
$root = Split-Path $PSScriptRoot
$home2 = (New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-$Name-$(New-Guid)")).FullName
$environment = [ordered]@{ NO_COLOR = '1' }
if ($Module) { $environment.WANDBLAUNCH_TEST_MODULE = $Module }
# What hides the machine's dotnet: a mount that only these processes see. Where that is not allowed, the tests say that it is still there.
$words = @()
if ($WithoutDotnet) {
    $environment.HOME = $home2
    # As a home of a person has them: without, .NET gives no place for data, and what asks for it writes into the working folder.
    $null = New-Item -ItemType Directory (Join-Path $home2 .local/share), (Join-Path $home2 .config)
    $environment.PATH = '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin'
    $folders = '/usr/share/dotnet', '/usr/lib/dotnet', '/usr/local/share/dotnet' | Where-Object { Test-Path $_ }
    $hide = ($folders | ForEach-Object { "mount -t tmpfs none $_ && " }) -join ''
    $words = @('unshare', '--mount'; if ((id -u) -ne 0) { '--map-root-user' }; 'sh', '-c', ($hide + 'exec "$0" "$@"'))
}
$kept = Get-ChildItem Env: | Where-Object { $_.Name -match '^(DOCKER_HOST|WANDBLAUNCH_TEST_.*|LANG|LC_ALL|TZ|TMPDIR|CI)$' }
$jobs = $File | ForEach-Object -ThrottleLimit 2 -Parallel {
    $result = Join-Path $using:home2 "$(Split-Path $_ -Leaf).json"
    $words = @($using:words) + $using:Pwsh + '-NoProfile', '-NonInteractive', '-File', (Join-Path $using:root tests/Pester/Invoke-Tests.ps1), $_, $result
    $start = [Diagnostics.ProcessStartInfo]::new($words[0])
    $words | Select-Object -Skip 1 | ForEach-Object { $start.ArgumentList.Add($_) }
    if ($using:WithoutDotnet) { $start.Environment.Clear() }
    foreach ($variable in $using:kept) { $start.Environment[$variable.Name] = $variable.Value }
    foreach ($name in ($using:environment).Keys) { $start.Environment[$name] = ($using:environment)[$name] }
    $start.RedirectStandardInput = $start.RedirectStandardOutput = $start.RedirectStandardError = $true
    $start.WorkingDirectory = $using:root
    $clock = [Diagnostics.Stopwatch]::StartNew()
    $process = [Diagnostics.Process]::Start($start)
    $process.StandardInput.Close()
    $output = $process.StandardOutput.ReadToEndAsync()
    $fault = $process.StandardError.ReadToEndAsync()
    $ended = $process.WaitForExit([timespan]::FromMinutes(10))
    if (-not $ended) { $process.Kill($true) }
    $outcomes = if (Test-Path $result) { @(Get-Content $result -Raw | ConvertFrom-Json) }
    if (-not $ended -or -not $outcomes) { $outcomes = @($outcomes) + [pscustomobject]@{ Name = $_; Result = 'Failed'; Message = "It did not end, or no test ran.`n$($output.Result)$($fault.Result)" } }
    Write-Host ('{0}: {1:0} s' -f (Split-Path $_ -Leaf), $clock.Elapsed.TotalSeconds)
    $outcomes | Where-Object { $_ }
}
Remove-Item $home2 -Recurse -Force -ErrorAction Ignore
$jobs | Where-Object Result -EQ Failed | ForEach-Object { Write-Host "FAILED $($_.Name)`n$($_.Message)" }
$line = '{0}: {1} passed, {2} failed, {3} skipped' -f $Name, @($jobs | Where-Object Result -EQ Passed).Count, @($jobs | Where-Object Result -EQ Failed).Count, @($jobs | Where-Object Result -EQ Skipped).Count
$names = $jobs | Where-Object Result -EQ Failed | ForEach-Object { "FAILED ${Name}: $($_.Name): $(("$($_.Message)".Trim() -split '\r?\n')[0])" }
Set-Content (New-Item (Join-Path $root "out/test-results/$Name.leg") -Force) @($names; $line)
Write-Host $line
if (@($jobs | Where-Object Result -EQ Failed) -or -not $jobs) { throw "Not all tests of $Name passed." }
