# The runtimes of pwsh 7.4 and 7.5, .NET 8 and 9: what the module starts runs on them too. They are laid out from their packages
# (tools/PowerShell), as an installer would, for dotnet to find.
BeforeDiscovery {
    $packages = Join-Path ($env:NUGET_PACKAGES ? $env:NUGET_PACKAGES : (Join-Path $HOME .nuget/packages)) microsoft.netcore.app.runtime.linux-x64
    $runtimes = foreach ($major in 8, 9) {
        $pack = Get-Item "$packages/$major.*" -ErrorAction Ignore | Sort-Object { [version] $_.Name } | Select-Object -Last 1
        @{ Major = $major; Pack = $pack.FullName; Version = $pack.Name }
    }
    $left = -not $IsLinux -or [Runtime.InteropServices.RuntimeInformation]::ProcessArchitecture -ne 'X64' -or -not (Get-Command dotnet -ErrorAction Ignore)
}

BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $uri = New-TestRepository repo 'import sys, time; time.sleep(3); sys.exit(3 if "--bad" in sys.argv else 0)'
}
AfterAll { Stop-TestHome }

Describe '.NET <Major>' -Skip:$left -ForEach $runtimes {
    BeforeAll {
        $Pack | Should -Not -BeNullOrEmpty -Because 'dotnet build tools/PowerShell brings the runtimes'
        $root = Join-Path $TestHome "net$Major"
        $shared = Join-Path $root shared/Microsoft.NETCore.App $Version
        $null = New-Item -ItemType Directory $shared, (Join-Path $root host/fxr $Version)
        $files = Join-Path $Pack runtimes/linux-x64
        Get-Item "$files/native/*", "$files/lib/net$Major.0/*" | ForEach-Object { $null = New-Item -ItemType SymbolicLink -Path (Join-Path $shared $_.Name) -Target $_.FullName }
        Copy-Item "$files/native/libhostfxr.so" (Join-Path $root host/fxr $Version)
        # A copy: the program looks for the runtimes beside itself.
        $program = (Get-Command dotnet).Source
        Copy-Item ((Get-Item $program).ResolvedTarget ?? $program) (Join-Path $root dotnet)
        $dotnet = Join-Path $root dotnet
        function Start-Host([string[]] $Word, [hashtable] $Environment = @{}) {
            $start = [Diagnostics.ProcessStartInfo]::new($dotnet)
            @(Join-Path $env:WANDBLAUNCH_MODULE lib/WandbLaunch.Host.dll) + $Word | ForEach-Object { $start.ArgumentList.Add($_) }
            $start.Environment['DOTNET_ROOT'] = $root
            $Environment.Keys | ForEach-Object { $start.Environment[$_] = $Environment[$_] }
            $start.RedirectStandardInput = $start.RedirectStandardOutput = $start.RedirectStandardError = $true
            [Diagnostics.Process]::Start($start)
        }
    }

    It 'starts a program and ends with its exit code' {
        $process = Start-Host adopt, end, python3, '-c', 'import sys; print("hello"); sys.exit(7)'
        $process.StandardOutput.ReadToEnd().Trim() | Should -Be hello
        $process.WaitForExit(60000) | Should -BeTrue
        $process.ExitCode | Should -Be 7 -Because $process.StandardError.ReadToEnd()
    }

    It 'is an agent that works a queue off, with supervisors of its runs' {
        $null = New-WandbRunQueue "on$Major"
        $items = Add-WandbLaunchQueueItem $uri -Queue "on$Major" -Resource local-process
        $items = @($items) + (Add-WandbLaunchQueueItem $uri -Queue "on$Major" -Resource local-process -Argument '--bad')
        $null = Register-WandbLaunchAgent -Name "on$Major" -Queue "on$Major" -AllowResource local-process -AllowGitHost file -NoInstall -ErrorAction SilentlyContinue -WarningAction SilentlyContinue -OutVariable definition
        $words = [regex]::Match((Get-Content $definition.Path -Raw), '(?m)^ExecStart=.*$').Value
        $config = [regex]::Match($words, '"agent" "([^"]+)"').Groups[1].Value
        $agent = Start-Host agent, $config
        try {
            $clock = [Diagnostics.Stopwatch]::StartNew()
            while ((Get-WandbLaunchQueueItem "on$Major" | Where-Object State -NotIn finished, failed) -and $clock.Elapsed.TotalSeconds -lt 90 -and -not $agent.HasExited) {
                $supervisor ??= Get-ChildItem /proc -Directory | Where-Object { $_.Name -match '^\d+$' -and (Get-Content "$_/cmdline" -Raw -ErrorAction Ignore) -match "^$([regex]::Escape($dotnet))\0.*Host\.dll\0run\0" } | Select-Object -First 1
                Start-Sleep -Milliseconds 50
            }
            ($items | ForEach-Object { (Get-WandbLaunchQueueItem "on$Major" -Id $_.Id).State }) | Should -Be finished, failed -Because $agent.HasExited
            $supervisor | Should -Not -BeNullOrEmpty
        } finally {
            if (-not $agent.HasExited) { & kill $agent.Id }
            $agent.WaitForExit(20000) | Should -BeTrue
            Unregister-WandbLaunchAgent "on$Major" -Confirm:$false -ErrorAction SilentlyContinue
        }
    }

    It 'is the local server, with what the module brings of ASP.NET Core' {
        $server = Start-Host server, (Join-Path $env:WANDBLAUNCH_MODULE server/WandbLaunch.Server.dll), '--path', (Join-Path $TestHome "server$Major.db") @{ WANDBLAUNCH_SERVER_KEY = 'local' + '0' * 35 }
        try {
            do { $line = $server.StandardOutput.ReadLine() } until ($null -eq $line -or $line -match '^listening (?<address>http://[\d.:]+)')
            $address = $Matches.address
            $address | Should -Not -BeNullOrEmpty -Because "$line$(if ($null -eq $line) { $server.StandardError.ReadToEnd() })"
            (Invoke-WebRequest $address -SkipHttpErrorCheck).StatusCode | Should -BeIn 200, 401
            Get-Content "/proc/$($server.Id)/maps" | Where-Object { $_ -match "Microsoft\.NETCore\.App/$Version/" -or $_ -match "/$([regex]::Escape($Version))/runtimes/" } | Should -Not -BeNullOrEmpty
        } finally {
            if (-not $server.HasExited) { & kill $server.Id }
            $server.WaitForExit(20000) | Should -BeTrue
        }
    }
}
