# The tasks of build.ps1, for Invoke-Build.
param([string] $Configuration = 'Debug', [string[]] $Argument)

Set-BuildHeader { param($Path) print DarkGray "# $Path" }
$BuildRoot = Split-Path $BuildRoot
$results = Join-Path $BuildRoot out/test-results

task Build {
    exec { dotnet build WandbLaunch.sln -c $Configuration }
}

# What is imported, and no tests.
task Module {
    exec { dotnet build src/WandbLaunch.PowerShell -c $Configuration --nologo --verbosity quiet -consoleLoggerParameters:ErrorsOnly }
}

task Quickstart Module, {
    exec { dotnet tool run pwsh -NoProfile -File docs/examples/quickstart.ps1 @Argument }
}

# Everything: "dotnet test" runs Pester too. Then how many of each, and whether a process was left behind.
task Test Build, {
    remove $results
    $env:WANDBLAUNCH_TEST_SESSION = [guid]::NewGuid()
    $env:MSBUILDDISABLENODEREUSE = 1
    try {
        dotnet test WandbLaunch.sln -c $Configuration --no-build --logger trx --results-directory $results @Argument
        $code = $LASTEXITCODE
        # What was told to end just now may take a moment.
        $clock = [Diagnostics.Stopwatch]::StartNew()
        do { $left = @(tests/Get-LeftProcess.ps1 $env:WANDBLAUNCH_TEST_SESSION) }
        while ($left -and $clock.Elapsed.TotalSeconds -lt 10 -and -not (Start-Sleep -Milliseconds 200))
    } finally {
        $env:WANDBLAUNCH_TEST_SESSION = $env:MSBUILDDISABLENODEREUSE = $null
    }

    $outcomes = foreach ($file in Get-Item "$results/*.trx") {
        $run = ([xml](Get-Content -LiteralPath $file.FullName -Raw)).TestRun
        $kind = if (@($run.TestDefinitions.UnitTest)[0].storage -like '*pester*') { 'Pester' } else { 'xunit' }
        # A project in which a filter leaves nothing has no results.
        $run.Results.UnitTestResult | Where-Object { $_ } | ForEach-Object { [pscustomobject]@{ Kind = $kind; Outcome = $_.outcome } }
    }
    $count = {
        param($Name, $Of, $More)
        $passed = @($Of | Where-Object Outcome -EQ Passed).Count
        $skipped = @($Of | Where-Object Outcome -EQ NotExecuted).Count
        "$Name$passed passed, $(@($Of).Count - $passed - $skipped + $More) failed, $skipped skipped"
    }
    # Failures too: a run that failed without a failed test, tests that did not run, and a process that was left behind.
    $more = @($left | ForEach-Object { "Left behind: $_" })
    if ($code -and -not ($outcomes | Where-Object Outcome -NotIn Passed, NotExecuted)) { $more += "dotnet test ended with $code." }
    if (-not $Argument) { 'xunit', 'Pester' | Where-Object { $_ -notin $outcomes.Kind } | ForEach-Object { $more += "No $_ test ran." } }
    $lines = @(
        $more
        foreach ($kind in 'xunit', 'Pester') { & $count "${kind}: " ($outcomes | Where-Object Kind -EQ $kind) 0 }
        & $count '' $outcomes $more.Count
    )
    Set-Content (New-Item $results/summary.txt -Force) $lines
    $lines
    assert (-not $code -and -not $more) 'Not all tests passed.'
}

# Pester alone, with its own words; all its files, or those that are named.
task Pester Module, {
    exec { dotnet build tests/WandbLaunch.NewResource -c $Configuration --nologo --verbosity quiet -consoleLoggerParameters:ErrorsOnly }
    $names = if ($Argument) { $Argument } else { '*' }
    $files = $names | ForEach-Object { (Get-Item "tests/Pester/$_.Tests.ps1").FullName }
    exec { dotnet tool run pwsh -NoProfile -File tests/Pester/Invoke-Tests.ps1 @files }
}

task Docs {
    exec { dotnet run --project tools/WandbLaunch.Docs -- $BuildRoot }
}

task Format {
    exec { dotnet csharpier format . }
}

task CheckFormat {
    exec { dotnet csharpier check . }
}

task Package {
    remove out/WandbLaunch
    exec { dotnet build src/WandbLaunch.PowerShell -c Release }
    $version = (Import-PowerShellDataFile WandbLaunch.psd1).ModuleVersion
    Compress-Archive out/WandbLaunch -DestinationPath out/WandbLaunch-$version.zip -Force
    Get-Item out/WandbLaunch-$version.zip
}
