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
        $left = @(tests/Get-LeftProcess.ps1 $env:WANDBLAUNCH_TEST_SESSION)
    } finally {
        $env:WANDBLAUNCH_TEST_SESSION = $env:MSBUILDDISABLENODEREUSE = $null
    }

    $outcomes = foreach ($file in Get-Item "$results/*.trx") {
        $run = ([xml](Get-Content $file -Raw)).TestRun
        $kind = if (@($run.TestDefinitions.UnitTest)[0].storage -like '*pester*') { 'Pester' } else { 'xunit' }
        $run.Results.UnitTestResult | ForEach-Object { [pscustomobject]@{ Kind = $kind; Outcome = $_.outcome } }
    }
    $count = {
        param($Name, $Of, $More)
        $passed = @($Of | Where-Object Outcome -EQ Passed).Count
        $skipped = @($Of | Where-Object Outcome -EQ NotExecuted).Count
        "$Name$passed passed, $(@($Of).Count - $passed - $skipped + $More) failed, $skipped skipped"
    }
    # A run that failed without a failed test, a process that was left behind and tests that did not run are failures.
    $more = $left.Count
    if ($code -and -not ($outcomes | Where-Object Outcome -NotIn Passed, NotExecuted)) { $more++ }
    foreach ($kind in 'xunit', 'Pester') {
        if ($kind -notin $outcomes.Kind -and -not $Argument) { $more++; print Red "No $kind test ran." }
        & $count "${kind}: " ($outcomes | Where-Object Kind -EQ $kind) 0
    }
    if ($left) { print Red "Left behind: $($left -join "`nLeft behind: ")" }
    $sum = & $count '' $outcomes $more
    $sum
    Set-Content (New-Item $results/summary.txt -Force) @(
        foreach ($kind in 'xunit', 'Pester') { & $count "${kind}: " ($outcomes | Where-Object Kind -EQ $kind) 0 }
        $left | ForEach-Object { "left behind: $_" }
        $sum
    )
    assert (-not $code -and -not $more) 'Tests failed.'
}

# Pester alone, with its own words; all its files, or those that are named.
task Pester Module, {
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
