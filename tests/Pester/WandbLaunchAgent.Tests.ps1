BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $uri = New-TestRepository repo 'import sys; print(sys.argv[1:]); sys.exit(int(sys.argv[2]))'
    $sleeper = New-TestRepository sleeper "import time`nprint('up', flush=True)`ntime.sleep(600)"
    $null = New-WandbRunQueue work
    # An agent in a runspace of its own, which goes on while the test looks at it.
    function Start-BackgroundAgent {
        param([string] $Name, [string] $More)
        $shell = [powershell]::Create([initialsessionstate]::CreateDefault())
        $null = $shell.AddScript("Set-Location '$PWD'; Import-Module '$env:WANDBLAUNCH_MODULE'; `$null = Connect-Wandb -Local; Start-WandbLaunchAgent -Queue work -Name $Name -AllowResource local-process -AllowGitHost file -NoInstall $More")
        $null = $shell.BeginInvoke()
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (-not (Get-WandbLaunchAgent $Name -State polling, running -ErrorAction Ignore)) {
            if ($clock.Elapsed.TotalSeconds -gt 60) { throw "The agent does not come: $($shell.Streams.Error)" }
            Start-Sleep -Milliseconds 100
        }
        $shell
    }
}
AfterAll { Stop-TestHome }

Describe 'Start-WandbLaunchAgent' {
    It 'queues runs and lets an agent drain them' {
        $csv = "code`n0`n3`n0" | ConvertFrom-Csv
        $items = $csv | Add-WandbLaunchQueueItem -Uri $uri -Queue work -Resource local-process
        $items.Count | Should -Be 3
        $events = Start-WandbLaunchAgent -Queue work -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -OnRunFinished { "ended $($_.ExitCode)" } -OnRunStarted { 'begun' }
        $LASTEXITCODE | Should -Be 2
        ($events | Where-Object { $_ -is [string] -and $_ -ne 'begun' }) | Should -Be 'ended 0', 'ended 3', 'ended 0'
        @($events -eq 'begun').Count | Should -Be 3
        ($items | Wait-WandbLaunchQueueItem -ErrorAction SilentlyContinue).State | Should -Be 'finished', 'failed', 'finished'
        Get-WandbLaunchQueueItem work | Format-Table | Out-String | Should -Match 'Id\s+Queue\s+State'
        $events | Where-Object { $_ -isnot [string] } | Get-View -Width 120 | Should -Match 'Time\s+Event\s+Item'
        $events | Where-Object { $_ -isnot [string] } | Get-View -Width 40 | Should -Match 'Time\s+Event'
        $events | Where-Object { $_ -isnot [string] } | Select-Object -First 1 | Get-View -List | Should -Match 'Message\s+:'
        (Get-WandbLaunchAgent -State stopped | Select-Object -First 1).Taken | Should -Be 3
        Get-Completion 'Start-WandbLaunchAgent -Queue w' | Should -Be work
    }

    It 'listens to all queues that come down the pipeline, and takes so many runs' {
        $null = New-WandbRunQueue work-too
        $null = 1..3 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process -Argument code=0 }
        $null = Get-WandbRunQueue work* | Start-WandbLaunchAgent -Name piped -MaxRuns 2 -MaxJobs 2 -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -QueueOrder Strict -MaxRetry 0 -StopGracePeriod 1 -Environment @{ A = 'b' } -Quiet
        $LASTEXITCODE | Should -Be 0
        (Get-WandbLaunchAgent piped).Queues | Should -Be work, work-too
        (Get-WandbLaunchAgent piped).Taken | Should -Be 2
        Get-WandbLaunchQueueItem work -State pending | Remove-WandbLaunchQueueItem -Confirm:$false
    }

    It 'fails what its policy does not allow, with the reason on the item' {
        $item = Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process
        $null = Start-WandbLaunchAgent -Queue work -StopWhenEmpty -Quiet
        $LASTEXITCODE | Should -Be 2
        (Get-WandbLaunchQueueItem work -Id $item.Id).State | Should -Be failed
        (Get-WandbLaunchQueueItem work -Id $item.Id).Error | Should -Match 'not allowed'
    }

    It 'says what is not there' {
        (Get-Fault { Start-WandbLaunchAgent -Queue nosuch -StopWhenEmpty }).Id | Should -Be QueueNotFound
        (Get-Fault { Start-WandbLaunchAgent -Config ./none.yaml -StopWhenEmpty }).Id | Should -Be AgentConfigNotFound
    }

    It 'is stopped at once while it waits, and tells its server so' {
        $clock = Measure-Stop "`$null = Connect-Wandb -Local; Start-WandbLaunchAgent -Queue work -Name stopped" { Get-WandbLaunchAgent stopped -State polling -ErrorAction Ignore }
        # Its last request, and not the half minute that it would wait for work.
        $clock.TotalSeconds | Should -BeLessThan 20
        (Get-WandbLaunchAgent stopped).State | Should -Be stopped
    }

    It 'finishes what runs when it is stopped' {
        $null = Add-WandbLaunchQueueItem $sleeper -Queue work -Resource local-process
        $shell = Start-BackgroundAgent finisher
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (-not (Get-WandbLaunch -State Running) -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 100 }
        $stop = $shell.StopAsync($null, $null)
        $stop.Wait(2000) | Should -BeFalse
        Get-WandbLaunch -State Running | Should -Not -BeNullOrEmpty
        Get-WandbLaunch -State Running | Stop-WandbLaunch
        $stop.Wait(20000) | Should -BeTrue
        $shell.Dispose()
        & $PSScriptRoot/../Get-LeftProcess.ps1 "$TestHome/work/sleeper" | Should -BeNullOrEmpty
    }
}

Describe 'What an agent shows' {
    It 'gives the same objects with -Quiet, and no live line' {
        $shell = [powershell]::Create([initialsessionstate]::CreateDefault())
        try {
            $run = { param($More) $shell.Commands.Clear(); $shell.Streams.ClearStreams(); $shell.AddScript("Set-Location '$PWD'; Import-Module '$env:WANDBLAUNCH_MODULE'; `$null = Connect-Wandb -Local; Start-WandbLaunchAgent -Queue work -Name looked -StopWhenEmpty $More").Invoke() }
            $loud = & $run ''
            @($shell.Streams.Progress | Where-Object Activity -Match Agent).Count | Should -BeGreaterThan 0
            $quiet = & $run '-Quiet'
            $quiet.Kind | Should -Be $loud.Kind
            $shell.Streams.Progress | Where-Object Activity -Match Agent | Should -BeNullOrEmpty
        } finally { $shell.Dispose() }
    }

    It 'says its policy in two lines at 80 columns, and each rule with -Verbose' {
        $said = Start-WandbLaunchAgent -Queue work -StopWhenEmpty -Verbose 4>&1
        $events = $said | Where-Object { $_ -isnot [Management.Automation.VerboseRecord] }
        $policy = $events | Where-Object Kind -EQ Policy
        @($policy | Get-View -Width 80 | ForEach-Object { $_ -split "`n" } | Where-Object { $_.Trim() } | Select-Object -Skip 2).Count | Should -BeLessOrEqual 2
        $policy.Message | Should -Be 'local-container; code of local from public git hosts; any image'
        "$($said -match '^Policy: git hosts')" | Should -Match 'github\.com, gitlab\.com'
        (Start-WandbLaunchAgent -Queue work -StopWhenEmpty -AllowResource local-process -AllowGitHost file -AllowMount /data:ro -SecureMode | Where-Object Kind -EQ Policy).Message | Should -Be 'local-process; code of local from file; any image; mounts /data:ro; secure mode'
    }

    It 'counts a run that was stopped as stopped' {
        $null = Add-WandbLaunchQueueItem $sleeper -Queue work -Resource local-process
        $shell = Start-BackgroundAgent stopper -More '-StopWhenEmpty'
        try {
            $clock = [Diagnostics.Stopwatch]::StartNew()
            while (-not (Get-WandbLaunch -State Running) -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 100 }
            Get-WandbLaunch -State Running | Stop-WandbLaunch
            while ((Get-WandbLaunchAgent stopper).State -ne 'stopped' -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 100 }
        } finally { $shell.Dispose() }
        $agent = Get-WandbLaunchAgent stopper
        $agent.Taken, $agent.Succeeded, $agent.Failed, $agent.Stopped, $agent.ExitCode | Should -Be 1, 0, 0, 1, 2
        (Receive-WandbLaunchAgentLog stopper)[-1].Message | Should -Match '1 taken, 0 finished, 0 failed, 1 stopped'
    }

    It 'leaves no live line behind after Ctrl+C' {
        $shell = [powershell]::Create([initialsessionstate]::CreateDefault())
        try {
            $null = $shell.AddScript("Set-Location '$PWD'; Import-Module '$env:WANDBLAUNCH_MODULE'; `$null = Connect-Wandb -Local; Start-WandbLaunchAgent -Queue work -Name leaver")
            # The host sees what the pipeline takes no more.
            $seen = [Collections.Concurrent.ConcurrentQueue[object]]::new()
            $shell.Runspace = [runspacefactory]::CreateRunspace((New-ProgressHost $seen), [initialsessionstate]::CreateDefault())
            $shell.Runspace.Open()
            $running = $shell.BeginInvoke()
            $clock = [Diagnostics.Stopwatch]::StartNew()
            while (-not (Get-WandbLaunchAgent leaver -State polling -ErrorAction Ignore) -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 100 }
            Start-Sleep -Milliseconds 500
            $shell.Stop()
            $last = @{}
            $seen | Where-Object { $_.Activity -match 'Agent' } | ForEach-Object { $last["$($_.Source)/$($_.ActivityId)"] = $_ }
            $last.Count | Should -BeGreaterThan 0
            $last.Values.RecordType | Should -Be (@('Completed') * $last.Count)
        } finally { $shell.Dispose() }
    }
}

Describe 'Start-WandbLaunchAgent -AsJob' {
    AfterEach { Get-Job | Where-Object PSJobTypeName -EQ WandbLaunch | Remove-Job -Force }

    It 'is a job that gives events, and whose script blocks are called' {
        $null = Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process -Argument code=0
        $job = Get-WandbRunQueue work | Start-WandbLaunchAgent -Name jobber -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -AsJob -OnRunFinished { "ended $($_.ExitCode)" }
        $job.Name, $job.Command | Should -Be jobber, 'Start-WandbLaunchAgent jobber'
        (Wait-Job $job -Timeout 60).State | Should -Be Completed
        $out = Receive-Job $job
        $out | Should -Contain 'ended 0'
        ($out | Where-Object { $_ -isnot [string] }).Kind | Should -Contain RunFinished
    }

    It 'is stopped by Stop-Job: an agent that waits at once, one that works after its runs, or with them when asked again' {
        $job = Start-WandbLaunchAgent -Queue work -Name idle -AsJob
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (-not (Get-WandbLaunchAgent idle -State polling -ErrorAction Ignore) -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 100 }
        Stop-Job $job
        $job.State | Should -Be Stopped
        (Receive-Job $job)[-1].Kind | Should -Be AgentStopped

        $null = Add-WandbLaunchQueueItem $sleeper -Queue work -Resource local-process
        $job = Start-WandbLaunchAgent -Queue work -Name busy-job -AllowResource local-process -AllowGitHost file -NoInstall -StopGracePeriod 0 -AsJob
        while (-not (Get-WandbLaunch -State Running) -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 100 }
        Stop-Job $job
        $job.State | Should -Be Stopping
        Get-WandbLaunch -State Running | Should -Not -BeNullOrEmpty
        Stop-Job $job
        (Wait-Job $job -Timeout 20).State | Should -Be Stopped
        Get-WandbLaunch -State Running | Should -BeNullOrEmpty
        (Receive-Job $job).Kind | Should -Contain RunStopped
    }
}

Describe 'Get-WandbLaunchAgent and Stop-WandbLaunchAgent' {
    It 'shows an agent that waits, and ends it' {
        $shell = Start-BackgroundAgent waiter
        try {
            (Get-WandbLaunchAgent wait* -State polling, running -Entity local -QueueProject model-registry).Name | Should -Be waiter
            ('waiter' | Get-WandbLaunchAgent -Connection (Get-WandbConnection)).Queues | Should -Be work
            Get-WandbLaunchAgent waiter | Get-View -Width 140 | Should -Match 'Name\s+State\s+Exit\s+Reason\s+Queues\s+Running\s+Seen\s+Taken\s+Ok\s+Failed\s+Host'
            Get-WandbLaunchAgent waiter | Get-View -Width 50 | Should -Match 'Name\s+State'
            Get-WandbLaunchAgent waiter | Get-View -List | Should -Match 'LogPath\s+:'
            (Get-WandbLaunchAgent waiter).LogPath | Should -Exist
            Get-Completion 'Stop-WandbLaunchAgent wai' | Should -Be waiter

            Get-WandbLaunchAgent waiter | Stop-WandbLaunchAgent -WhatIf
            (Get-WandbLaunchAgent waiter).State | Should -BeIn polling, running

            # A word of a fixed list, and for filters and texts the word as ever.
            $agent = Get-WandbLaunchAgent waiter
            $agent.State.GetType().IsEnum | Should -BeTrue
            $agent | Where-Object State -EQ polling | Should -Not -BeNullOrEmpty
            $agent | Where-Object { $_.State -in 'polling', 'running' } | Should -Not -BeNullOrEmpty
            $agent | Where-Object State -Like 'poll*' | Should -Not -BeNullOrEmpty
            $agent | Where-Object State -EQ stopped | Should -BeNullOrEmpty
            $(switch ($agent.State) { polling { 'waits' } default { 'else' } }) | Should -Be waits
            Get-Completion 'Get-WandbLaunchAgent -State dr' | Should -Be Draining
            { Get-WandbLaunchAgent -State sleeping } | Should -Throw -ErrorId 'CannotConvertArgumentNoMessage*'
            (Get-WandbLaunchAgent waiter | Stop-WandbLaunchAgent -Drain -Timeout 60 -PassThru -Confirm:$false).State | Should -Be stopped
        } finally {
            $null = $shell.StopAsync($null, $null).Wait(20000)
            $shell.Dispose()
        }
        (Get-WandbLaunchAgent waiter).State | Should -Be stopped
    }

    It 'ends the runs of an agent that is stopped without -Drain' {
        $null = Add-WandbLaunchQueueItem $sleeper -Queue work -Resource local-process
        $shell = Start-BackgroundAgent busy '-StopGracePeriod 0'
        try {
            $clock = [Diagnostics.Stopwatch]::StartNew()
            while (-not (Get-WandbLaunch -State Running) -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 100 }
            Stop-WandbLaunchAgent -Name busy -Confirm:$false
        } finally {
            $null = $shell.StopAsync($null, $null).Wait(20000)
            $shell.Dispose()
        }
        Get-WandbLaunch -State Starting, Running | Should -BeNullOrEmpty
        & $PSScriptRoot/../Get-LeftProcess.ps1 "$TestHome/work/sleeper" | Should -BeNullOrEmpty
    }

    It 'says what is not there' {
        $fault = Get-Fault { Get-WandbLaunchAgent nosuch }
        $fault.Category, $fault.Target | Should -Be ObjectNotFound, nosuch
        (Get-Fault { Stop-WandbLaunchAgent nosuch -Confirm:$false }).Category | Should -Be ObjectNotFound
    }
}

Describe 'Register-WandbLaunchAgent and Unregister-WandbLaunchAgent' {
    It 'shows the service with -WhatIf and writes no file' {
        $before = @(Get-ChildItem $TestHome -Recurse -File).Count
        $definition = Register-WandbLaunchAgent -Name gpu -Queue work -MaxJobs 2 -AllowResource local-process -AllowGitHost file -WhatIf
        $definition.Content | Should -Not -BeNullOrEmpty
        $definition.Activation | Should -Not -BeNullOrEmpty
        $definition.Path | Should -Not -Exist
        $definition | Get-View | Should -Match 'Name\s+Kind\s+Account'
        $definition | Get-View -List | Should -Match 'Content\s+:'
        @(Get-ChildItem $TestHome -Recurse -File).Count | Should -Be $before
    }

    It 'starts pwsh where the key is in a vault: this one, also where it is a .NET tool' {
        $content = (Register-WandbLaunchAgent -Name vault -Queue work -SecretName wandb -Vault mine -WhatIf).Content
        $content | Should -Match ([regex]::Escape($PSHOME))
        # What the service runs binds: it ends for want of a vault, not of a parameter.
        $content -match "\`$null = (?<connect>Connect-Wandb [^;]*);" | Should -BeTrue
        (Get-Fault { Invoke-Expression $Matches.connect }).Id | Should -Be SecretManagementMissing
        $null = Connect-Wandb -Local
    }

    It 'says what cannot be' {
        (Get-Fault { Register-WandbLaunchAgent -Name 'a/b' -Queue work -WhatIf }).Id | Should -Be ParameterArgumentValidationError
        $fault = Get-Fault { Unregister-WandbLaunchAgent -Name nightly -Confirm:$false }
        $fault.Id, $fault.Category | Should -Be ServiceNotFound, ObjectNotFound
        Unregister-WandbLaunchAgent nightly -WhatIf -PassThru -ErrorAction SilentlyContinue | Should -BeNullOrEmpty
    }
}

Describe 'Remove-WandbLaunchAgent' {
    BeforeAll {
        $null = 'done', 'done-too', 'other' | ForEach-Object { Start-WandbLaunchAgent -Name $_ -Queue work -StopWhenEmpty -Quiet }
    }

    It 'removes what has ended, but not with -WhatIf, after a no, or with nobody to ask' {
        Remove-WandbLaunchAgent done* -WhatIf
        Invoke-Pwsh 'Remove-WandbLaunchAgent done' -Answer n | Out-Null
        Invoke-Pwsh 'try { Remove-WandbLaunchAgent done -ErrorAction Stop } catch { "refused" }' | Should -Contain refused
        (Get-WandbLaunchAgent done*).Count | Should -Be 2
        $log = (Get-WandbLaunchAgent done).LogPath
        Get-Completion 'Remove-WandbLaunchAgent do' | Sort-Object | Should -Be done, done-too
        (Remove-WandbLaunchAgent done* -Confirm:$false -PassThru).Name | Sort-Object | Should -Be done, done-too
        Get-WandbLaunchAgent done* | Where-Object Local | Should -BeNullOrEmpty
        $log | Should -Not -Exist
        Get-WandbLaunchAgent other | Where-Object Local | Remove-WandbLaunchAgent -Confirm:$false
        @(Get-WandbLaunchAgent other -ErrorAction Ignore | Where-Object Local) | Should -BeNullOrEmpty
    }

    It 'keeps what runs, what holds items, and what is a service, and says so' {
        $null = Start-WandbLaunchAgent -Name kept -Queue work -StopWhenEmpty -Quiet
        $folder = Split-Path (Get-WandbLaunchAgent kept).LogPath
        $null = New-Item -Force (Join-Path $folder items/abcdefgh.json) -Value '{'
        $fault = Get-Fault { Remove-WandbLaunchAgent kept -Confirm:$false }
        $fault.Id, $fault.Category, $fault.Target.Name | Should -Be AgentHasItems, InvalidOperation, kept
        Remove-Item (Join-Path $folder items/abcdefgh.json)

        # Runs: its lock is held.
        $state = Join-Path $folder agent.json
        $text = Get-Content $state -Raw
        Set-Content $state ($text -replace '"stopped"', '"polling"')
        $lock = [IO.File]::Open((Join-Path $folder agent.lock), 'OpenOrCreate', 'ReadWrite', 'None')
        try { (Get-Fault { Remove-WandbLaunchAgent kept -Confirm:$false }).Id | Should -Be AgentNotDone }
        finally { $lock.Dispose() }
        # Its lock is free: it is lost.
        Remove-WandbLaunchAgent ke* -Confirm:$false
        $folder | Should -Not -Exist
        (Get-Fault { Remove-WandbLaunchAgent nosuch -Confirm:$false }).Id | Should -Be AgentNotFound
        (Get-Fault { Get-WandbConnection | Remove-WandbLaunchAgent -Confirm:$false }).Id | Should -Be InputNotSupported
        { Remove-WandbLaunchAgent nosuch* -Confirm:$false -ErrorAction Stop } | Should -Not -Throw
    }
}
