# Limits of time, and of how many run: for launches, items, queues and agents alike.
BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $sleeper = New-TestFolder sleeper "import time`nprint('up', flush=True)`ntime.sleep(600)"
    $uri = New-TestRepository repo "import sys, time`nprint('up', flush=True)`ntime.sleep(float(sys.argv[1]))"
    $null = New-WandbRunQueue work
}
AfterAll { Stop-TestHome }

Describe '-TimeLimit and -StartLimit of launches' {
    It 'stops a run whose time is over, and says so' {
        $fault = Get-Fault { $script:run = Start-WandbLaunch $sleeper -Resource local-process -Quiet -TimeLimit 1s -StopGracePeriod 1 }
        $fault.Id, $fault.Category, $fault.Target.Id | Should -Be TimeLimit, OperationTimeout, $run.Id
        $fault.Message | Should -Match 'time limit of 00:00:01'
        $run.State, $run.ErrorId | Should -Be Failed, TimeLimit
        $run.EngineId | Should -Be $run.ProcessId
        $run | Get-View -List | Should -Match 'EngineId\s+:'
        (Get-WandbLaunch $run.Id).Reason | Should -Match 'time limit of 00:00:01'
    }

    It 'stops one that nobody waits for' {
        $run = Start-WandbLaunch $sleeper -Resource local-process -TimeLimit ([timespan]::FromSeconds(1)) -StopGracePeriod 1 -NoWait
        $ended = $run | Wait-WandbLaunch -Timeout 60 -ErrorAction SilentlyContinue
        $ended.State, $ended.ErrorId | Should -Be Failed, TimeLimit
    }

    It 'gives up what does not begin in time' {
        (Get-Fault { Start-WandbLaunch $sleeper -Resource local-process -Quiet -StartLimit 00:00:00.001 }).Id | Should -Be StartLimit
    }

    It 'takes a limit from a config, as New-WandbLaunchConfig writes it' {
        $config = New-WandbLaunchConfig $sleeper -Resource local-process -TimeLimit 90m -StartLimit 1d
        $config.time_limit, $config.start_limit | Should -Be '01:30:00', '1.00:00:00'
        $config.time_limit = '1s'
        (Get-Fault { $config | Start-WandbLaunch -Quiet -StopGracePeriod 1 }).Id | Should -Be TimeLimit
        (Get-Fault { New-WandbLaunchConfig -Config @{ uri = $sleeper; time_limit = 90 } }).Message | Should -Match 'time_limit.*2h'
        (Get-Fault { New-WandbLaunchConfig -Config @{ uri = $sleeper; time_limits = '2h' } }).Message | Should -Match "is 'time_limit' meant"
    }

    It 'refuses <_>' -ForEach '90', 'soon', '-1h', '0s' {
        (Get-Fault { Start-WandbLaunch $sleeper -TimeLimit $_ -WhatIf }).Message | Should -Match '2h, 1h30m, 90s or 02:00:00'
    }

    It 'takes <_> as it was typed, though it is a number to PowerShell' -ForEach '90s', '1d' {
        $config = Invoke-Expression "New-WandbLaunchConfig x -TimeLimit $_"
        $config.time_limit | Should -Be ($_ -eq '1d' ? '1.00:00:00' : '00:01:30')
    }

    It 'refuses a number, which would be ticks' { (Get-Fault { Start-WandbLaunch $sleeper -TimeLimit 90 -WhatIf }).Message | Should -Match '2h' }
}

Describe 'Limits of items, queues and agents' {
    It 'keeps the limits of a queue, copies them, changes one and takes one away' {
        $queue = New-WandbRunQueue limited -Resource local-process -TimeLimit 2h -StartLimit 30m
        $queue.TimeLimit, $queue.StartLimit | Should -Be ([timespan]'02:00:00'), ([timespan]'00:30:00')
        (Get-WandbRunQueue limited).TimeLimit | Should -Be ([timespan]'02:00:00')
        ($queue | New-WandbRunQueue copied).StartLimit | Should -Be ([timespan]'00:30:00')
        $null = Get-WandbRunQueue limited | Export-Clixml (Join-Path $PWD limited.xml)
        (Import-Clixml (Join-Path $PWD limited.xml) | New-WandbRunQueue kept).TimeLimit | Should -Be ([timespan]'02:00:00')
        $changed = Set-WandbRunQueue limited -TimeLimit 1h -PassThru
        $changed.TimeLimit, $changed.StartLimit | Should -Be ([timespan]'01:00:00'), ([timespan]'00:30:00')
        (Set-WandbRunQueue limited -StartLimit $null -PassThru).StartLimit | Should -BeNullOrEmpty
        (Get-WandbRunQueue limited).TimeLimit | Should -Be ([timespan]'01:00:00')
    }

    It 'ends an item at the smallest limit, and says which' {
        $null = Set-WandbRunQueue limited -TimeLimit 2s
        $items = @(
            Add-WandbLaunchQueueItem $uri -Queue limited -TimeLimit 1h -Argument 600
            Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process -TimeLimit 1s -Argument 600
            Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process -Argument 600
        )
        (Get-WandbLaunchQueueItem work -Id $items[1].Id).Config | Should -Match '"time_limit":"00:00:01"'
        $null = Start-WandbLaunchAgent -Queue limited, work -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -MaxJobs 3 -TimeLimit 3s -StopGracePeriod 1 -Quiet
        $LASTEXITCODE | Should -Be 2
        (Get-WandbLaunchQueueItem limited -Id $items[0].Id).Error | Should -Match 'time limit of 00:00:02'
        (Get-WandbLaunchQueueItem work -Id $items[1].Id).Error | Should -Match 'time limit of 00:00:01'
        $last = Get-WandbLaunchQueueItem work -Id $items[2].Id
        $last.Reason | Should -Match 'time limit of 00:00:03'
        $last.EngineId | Should -Match '^\d+$'
        $last | Get-View -List | Should -Match 'EngineId\s+:\s+\d+'
    }
}

Describe '-MaxJobs by resource' {
    It 'takes a table and name=value, and shows them' {
        foreach ($given in @{ 'local-process' = 4; local = 2 }, @('local-process=4', 'local-container=2')) {
            $content = (Register-WandbLaunchAgent -Name limits -Queue work -MaxJobs $given -AllowResource local-process, local-container -WhatIf).ConfigContent
            $content | Should -Match 'max_jobs'
            $content | Should -Match 'local-process\W+4'
        }
        $null = Start-WandbLaunchAgent -Queue work -Name limits -MaxJobs @{ 'local-process' = 4 } -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -Quiet
        (Get-WandbLaunchAgent limits).MaxJobs | Should -Be 4
        (Get-WandbLaunchAgent limits).MaxJobsOf.'local-process' | Should -Be 4
    }

    It 'still takes one number for all' {
        $null = Start-WandbLaunchAgent -Queue work -Name one-number -MaxJobs 3 -AllowResource local-process -AllowGitHost file -StopWhenEmpty -Quiet
        (Get-WandbLaunchAgent one-number).MaxJobs | Should -Be 3
        (Get-WandbLaunchAgent one-number).MaxJobsOf | Should -BeNullOrEmpty
    }

    It 'names the resource that is meant' {
        $fault = Get-Fault { Start-WandbLaunchAgent -Queue work -MaxJobs @{ 'lokal-process' = 2 } -StopWhenEmpty }
        $fault.Id, $fault.Target | Should -Be ResourceUnknown, 'lokal-process'
        $fault.Message | Should -Match "is 'local-process' meant"
    }

    It 'refuses <_>' -ForEach 'many', '-2', '10001', 'local-process=none', 'local-process=0' {
        (Get-Fault { Start-WandbLaunchAgent -Queue work -MaxJobs $_ -StopWhenEmpty }).Message | Should -Match 'number for each resource'
    }

    It 'completes resources' { Get-Completion 'Start-WandbLaunchAgent -MaxJobs local-p' | Should -Be 'local-process=' }
}
