# On a machine whose only .NET is the one inside pwsh (build.ps1 TestOnlyPwsh): what this module starts that outlives a shell.
BeforeAll {
    . $PSScriptRoot/../Pester/Common.ps1
    Start-TestHome -Connect
    $uri = New-TestRepository repo 'import os, sys; print(sorted(n for n in os.environ if n.startswith(("DOTNET_", "WANDBLAUNCH_ST", "CORECLR_")))); print(sys.argv[1:])'
    $sources = (Resolve-Path "$PSScriptRoot/../..").Path
    $pwsh = [Environment]::ProcessPath
    function Get-CommandLine([int] $Id) { ,@((Get-Content "/proc/$Id/cmdline" -Raw).TrimEnd([char]0) -split "`0") }
    function Wait-Until([scriptblock] $That, [int] $Seconds = 60) {
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (-not (& $That)) {
            if ($clock.Elapsed.TotalSeconds -gt $Seconds) { throw "This did not come to be true: $That" }
            Start-Sleep -Milliseconds 100
        }
    }
    # A unit's program, as systemd starts it: these words, these variables, and nothing of this shell.
    function Start-Unit([string] $Unit, [switch] $WithoutVariables) {
        $unquote = { $args[0] -replace '^"|"$' -replace '\\"', '"' -replace '\\\\', '\' -replace '%%', '%' -replace '\$\$', '$$' }
        $words = [regex]::Matches(($Unit -split "`n" -match '^ExecStart=' -replace '^ExecStart='), '"(\\.|[^"\\])*"').Value | ForEach-Object { & $unquote $_ }
        $start = [Diagnostics.ProcessStartInfo]::new($words[0])
        $words | Select-Object -Skip 1 | ForEach-Object { $start.ArgumentList.Add($_) }
        $start.Environment.Clear()
        foreach ($name in 'PATH', 'HOME', 'PYTHONPATH', 'WANDBLAUNCH_HOME', 'NETRC', 'WANDB_CONFIG_DIR', 'GIT_CONFIG_GLOBAL') { $start.Environment[$name] = [Environment]::GetEnvironmentVariable($name) }
        if (-not $WithoutVariables) {
            $Unit -split "`n" -match '^Environment=' -replace '^Environment=' | ForEach-Object { $name, $value = (& $unquote $_) -split '=', 2; $start.Environment[$name] = $value }
        }
        $start.RedirectStandardOutput = $start.RedirectStandardError = $true
        [Diagnostics.Process]::Start($start)
    }
}
AfterAll { Stop-TestHome }

Describe 'a machine with pwsh and no dotnet' {
    It 'is one' {
        Get-Command dotnet -ErrorAction Ignore | Where-Object { Test-Path (Join-Path (Split-Path (Get-Item $_.Source).ResolvedTarget) shared) } | Should -BeNullOrEmpty
        $env:DOTNET_ROOT | Should -BeNullOrEmpty
        '/usr/share/dotnet/shared', '/usr/lib/dotnet/shared' | Where-Object { Test-Path $_ } | Should -BeNullOrEmpty
        Split-Path ([object].Assembly.Location) | Should -Be $PSHOME
    }

    It 'has the local server, on the runtime of this pwsh' {
        $server = Get-WandbLaunchServer | Where-Object Running
        (Get-CommandLine $server.ProcessId)[0] | Should -Be $pwsh
        (Get-CommandLine $server.ProcessId) -join ' ' | Should -Match 'WandbLaunch\.Host\.ps1 server .*WandbLaunch\.Server\.dll'
        (Invoke-WebRequest $server.Url -SkipHttpErrorCheck).StatusCode | Should -Be 401
        # PowerShell's engine is not loaded, only its runtime.
        Get-Content "/proc/$($server.ProcessId)/maps" | Should -Not -Match 'System\.Management\.Automation'
    }

    It 'reproduces a run and changes it: quickstart.ps1' {
        $text = (Invoke-Pwsh "& '$sources/docs/examples/quickstart.ps1' | Out-String -Width 160") -join "`n"
        $text | Should -Match '\w{8}: final loss 1\.458\b'
        $text | Should -Match '\w{8}: final loss 0\.25\b'
    }

    It 'watches a run of -NoWait that outlives its shell, with nothing of the start in the program''s environment' {
        $env:DOTNET_TieredCompilation = '1'
        $id = (Invoke-Pwsh "(Start-WandbLaunch '$uri' -Resource local-process -NoWait -Argument a=1).Id" | Select-Object -Last 1)
        $env:DOTNET_TieredCompilation = $null
        $run = Get-WandbLaunch $id | Wait-WandbLaunch
        $run.State | Should -Be finished
        $lines = $run | Receive-WandbLaunchLog
        $lines | Should -Contain "['DOTNET_TieredCompilation']"
        $lines | Should -Contain "['--a', '1']"
    }

    It 'leaves the hooks of others in place, and says when one cannot be loaded' {
        # A file that is no hook would end the host: the variable is read by the runtime, in order, ours last.
        $env:DOTNET_STARTUP_HOOKS = "$TestHome/none.dll"
        try { (Get-Fault { Start-WandbLaunch $uri -Resource local-process -NoWait }).Id | Should -Be HostFailed } finally { $env:DOTNET_STARTUP_HOOKS = $null }
    }

    It 'runs an agent as a service: <Way>' -ForEach @(
        @{ Way = 'as systemd and launchd start it'; Bare = $false }
        @{ Way = 'as Task Scheduler does, without variables'; Bare = $true }
    ) {
        $queue = "service-$Bare".ToLowerInvariant()
        $null = New-WandbRunQueue $queue
        $item = Add-WandbLaunchQueueItem $uri -Queue $queue -Resource local-process
        $null = Register-WandbLaunchAgent -Name $queue -Queue $queue -AllowResource local-process -AllowGitHost file -NoInstall -ErrorAction SilentlyContinue -ErrorVariable fault -WarningAction SilentlyContinue -OutVariable definition
        try {
            # There is no service manager here; what it was given is started as it would be.
            $fault | ForEach-Object { $_.FullyQualifiedErrorId | Should -BeLike 'ServiceNotStarted,*' }
            $agent = Start-Unit (Get-Content $definition.Path -Raw) -WithoutVariables:$Bare
            Wait-Until { $agent.HasExited -or (Get-WandbLaunchQueueItem $queue -Id $item.Id).State -in 'finished', 'failed' }
            (Get-WandbLaunchQueueItem $queue -Id $item.Id).State | Should -Be finished -Because $agent.HasExited
            (Get-Content "/proc/$($agent.Id)/maps" | Where-Object { $_ -match 'System\.Management\.Automation\.dll' }).Count -gt 0 | Should -Be $Bare
        } finally {
            if ($agent -and -not $agent.HasExited) { & kill $agent.Id }
        }
        $agent.WaitForExit(20000) | Should -BeTrue
        Unregister-WandbLaunchAgent $queue -Confirm:$false -ErrorAction SilentlyContinue
    }

    It 'says what is missing where pwsh is asked for dotnet' {
        $env:WANDBLAUNCH_RUNTIME = 'dotnet'
        try {
            $fault = Get-Fault { Start-WandbLaunch $uri -Resource local-process -NoWait }
            $fault.Id, $fault.Category | Should -Be RuntimeNotFound, ResourceUnavailable
            $env:WANDBLAUNCH_RUNTIME = 'java'
            (Get-Fault { Start-WandbLaunchServer (Join-Path $PWD other.db) }).Id | Should -Be RuntimeUnknown
        } finally { $env:WANDBLAUNCH_RUNTIME = $null }
    }
}
