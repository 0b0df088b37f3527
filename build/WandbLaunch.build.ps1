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
        $run.Results.UnitTestResult | Where-Object { $_ } | ForEach-Object {
            $message = "$($_.Output.ErrorInfo.Message)".Trim() -split '\r?\n' | Select-Object -First 1
            [pscustomobject]@{ Kind = $kind; Name = $_.testName; Outcome = $_.outcome; Message = $message }
        }
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
        # By name at the end too: who sees the end of a long log must not have to look for the middle.
        $outcomes | Where-Object Outcome -NotIn Passed, NotExecuted | ForEach-Object { "FAILED $($_.Kind): $($_.Name): $($_.Message)" }
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

# A pwsh that brings its own .NET.
task OnlyPwsh -If { -not (Test-Path out/only-pwsh/libcoreclr*) -and -not (Test-Path out/only-pwsh/coreclr.dll) } {
    & $PSScriptRoot/OnlyPwsh.ps1 out/only-pwsh
}

# A leg of its own: Pester's files in that pwsh, on a machine without dotnet.
task TestOnlyPwsh Module, OnlyPwsh, {
    $files = if ($Argument) { $Argument | ForEach-Object { (Get-Item "tests/*/$_.Tests.ps1").FullName } } else {
        (Get-Item tests/OnlyPwsh/*.Tests.ps1, tests/Pester/Module.Tests.ps1, tests/Pester/WandbLaunch.Tests.ps1, tests/Pester/WandbLaunchServer.Tests.ps1, tests/Pester/WandbLaunchAgent.Tests.ps1).FullName
    }
    & $PSScriptRoot/Test-Leg.ps1 -Name only-pwsh -Pwsh $BuildRoot/out/only-pwsh/pwsh -File $files -WithoutDotnet
}

# A leg of its own: what Windows does, on Windows or in Wine. The assemblies are the portable ones; nothing is published.
task TestWindows Module, {
    exec { dotnet build tests/WandbLaunch.WindowsLayout -c $Configuration --nologo --verbosity quiet -consoleLoggerParameters:ErrorsOnly }
    & $PSScriptRoot/Test-Windows.ps1 -Configuration $Configuration -Argument $Argument
}

task Docs {
    exec { dotnet run --project tools/WandbLaunch.Docs -- $BuildRoot }
}

# The picture of the README, of a real session.
task Recording Module, {
    exec { dotnet tool run pwsh -NoProfile -File tools/Record-Session.ps1 @Argument }
}

task Format {
    exec { dotnet csharpier format . }
}

task CheckFormat {
    exec { dotnet csharpier check . }
}

# Built as for every machine: no path of this one in it, and no symbols.
task Package {
    remove out/WandbLaunch
    exec { dotnet build src/WandbLaunch.PowerShell -c Release --no-incremental --nologo --verbosity quiet -consoleLoggerParameters:ErrorsOnly -p:DebugType=none -p:PathMap=$BuildRoot=/_ }
    & $PSScriptRoot/Package.ps1 -Module out/WandbLaunch -Destination out/package
}

# The package as a user gets it. Then it lies in out/installed, for the tests of the module (WANDBLAUNCH_TEST_MODULE).
task TestPackage Package, OnlyPwsh, {
    # A second time in another folder: the same bytes from the same commit.
    $env:WANDBLAUNCH_TEST_PACKAGE_AGAIN = $null
    $again = Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-again-$(New-Guid)"
    try {
        if (git status --porcelain) { print Yellow 'There are changes that are not committed: not built a second time.' } else {
            exec { git clone --quiet $BuildRoot $again }
            exec { dotnet build $again/src/WandbLaunch.PowerShell -c Release --nologo --verbosity quiet -consoleLoggerParameters:ErrorsOnly -p:DebugType=none -p:PathMap=$again=/_ -p:RunAnalyzers=false }
            $env:WANDBLAUNCH_TEST_PACKAGE_AGAIN = (& $again/build/Package.ps1 -Module $again/out/WandbLaunch -Destination $again/out/package).FullName
        }

        # Where the source has no list of vulnerabilities, the command says so and this has nothing to say.
        $audit = dotnet list src/WandbLaunch.PowerShell package --vulnerable --include-transitive 2>&1
        $audit += dotnet list src/WandbLaunch.Server package --vulnerable --include-transitive 2>&1
        print DarkGray ($audit -match 'vulnerable|error|warn' -join "`n")
        assert (-not ($audit -match 'has the following vulnerable packages')) "A package that is brought has a known vulnerability:`n$($audit -join "`n")"
        & $PSScriptRoot/Test-Leg.ps1 -Name package -Pwsh $BuildRoot/out/only-pwsh/pwsh -File (Get-Item tests/Package/*.Tests.ps1).FullName -WithoutDotnet
    } finally {
        $env:WANDBLAUNCH_TEST_PACKAGE_AGAIN = $null
        Remove-Item $again -Recurse -Force -ErrorAction Ignore
    }

    remove out/installed
    [IO.Compression.ZipFile]::ExtractToDirectory((Get-Item out/package/*.nupkg).FullName, (Join-Path $BuildRoot out/installed/WandbLaunch))
    remove out/installed/WandbLaunch/_rels, out/installed/WandbLaunch/package, out/installed/WandbLaunch/*Content_Types*
}
