BeforeDiscovery {
    $script:Reason = if ($env:WANDBLAUNCH_TEST_SLURM) { $null } else { 'needs Slurm: tests/engines/slurm-up.sh, and its folder in WANDBLAUNCH_TEST_SLURM' }
    if ($Reason -and $env:CI -eq 'true' -and $IsLinux) { throw "CI must have Slurm: $Reason" }
}
BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $env:WANDBLAUNCH_SLURM_POLL = '0.5'
    if ($env:WANDBLAUNCH_TEST_SLURM) { $env:SLURM_CONF = Join-Path $env:WANDBLAUNCH_TEST_SLURM slurm.conf }
    $folder = New-TestFolder
    Set-Content (Join-Path $folder job.sh) 'echo "args $*"; exit ${1:-0}'
    $slurm = @{ Resource = 'slurm'; EntryPoint = 'bash job.sh'; Quiet = $true }
}
AfterAll {
    Stop-TestHome
    $env:WANDBLAUNCH_SLURM_POLL = $env:SLURM_CONF = $null
}

Describe 'Start-WandbLaunch -Resource slurm' -Skip:([bool] $Reason) {
    It 'runs a folder as a job, and its log is here' {
        $run = Start-WandbLaunch $folder @slurm -Argument 0, b -ResourceArgs @{ slurm = @{ time = [TimeSpan] '00:05:00'; mem = '100M'; cpus_per_task = 1 } }
        $run.State, $run.ExitCode, $run.Handle.Kind | Should -Be Finished, 0, slurm-job
        $run | Receive-WandbLaunchLog | Should -Be 'args 0 b'
        $run.Started, $run.Finished | Should -Not -BeNullOrEmpty
    }

    It 'shows the output while it runs' {
        $shown = Invoke-Pwsh "`$env:SLURM_CONF = '$env:SLURM_CONF'; `$null = Start-WandbLaunch '$folder' -EntryPoint 'bash job.sh' -Resource slurm -NoInstall"
        $shown -join "`n" | Should -Match 'args'
    }

    It 'makes $? false when the program fails, and says its last lines' {
        $null = Start-WandbLaunch $folder @slurm -Argument 4 -ErrorAction SilentlyContinue -ErrorVariable problem
        $? | Should -BeFalse
        $problem[0].FullyQualifiedErrorId | Should -BeLike 'RunFailed,*'
        "$($problem[0])" | Should -Match 'exit code 4'
        "$($problem[0])" | Should -Match 'args 4'
    }

    It 'asks Slurm with -WhatIf, and starts nothing' {
        $before = @(Get-WandbLaunch).Count
        $plan = Start-WandbLaunch $folder -EntryPoint 'bash job.sh' -Resource slurm -WhatIf
        $plan.Note | Should -Match 'Job \d+ to start at'
        $plan | Get-View -List | Should -Match 'Slurm on this machine says'
        @(Get-WandbLaunch).Count | Should -Be $before
        { Start-WandbLaunch $folder -EntryPoint 'bash job.sh' -Resource slurm -ResourceArgs @{ slurm = @{ partition = 'nowhere' } } -WhatIf -ErrorAction Stop } |
            Should -Throw '*partition*' -ErrorId 'SlurmRefused,*'
    }

    It 'leaves it to Slurm with -NoWait; another shell sees why it waits, and stops it' {
        $run = Start-WandbLaunch $folder @slurm -NoWait -ResourceArgs @{ slurm = @{ begin = 'now+1hour' } }
        $run.State | Should -Be Pending
        $seen = Invoke-Pwsh "`$env:SLURM_CONF = '$env:SLURM_CONF'; Get-WandbLaunch $($run.Id) | ForEach-Object { `"`$(`$_.State) `$(`$_.Reason)`" }; (Stop-WandbLaunch $($run.Id) -PassThru).State"
        $seen[0] | Should -Match 'Pending waits for its begin time'
        $seen[1] | Should -Be Stopped
    }

    It 'hands a -Grid over as one array' {
        $runs = Start-WandbLaunch $folder -Resource slurm -EntryPoint 'bash job.sh' -Quiet -Grid ([ordered] @{ a = 1, 2, 3; b = 'x', 'y' }) -ErrorAction SilentlyContinue -ResourceArgs @{ slurm = @{ array_throttle = 4 } }
        $runs.Count | Should -Be 6
        @($runs.Handle.Id -replace '_.*' | Sort-Object -Unique).Count | Should -Be 1
        @($runs | Receive-WandbLaunchLog | Where-Object { $_ -match '^args' } | Sort-Object -Unique).Count | Should -Be 6
    }

    It 'refuses what is not for it: <Name>' -ForEach @(
        @{ Name = 'a dangerous option'; With = @{ ResourceArgs = @{ slurm = @{ wrap = 'id' } } }; Id = 'SlurmArgumentRefused' }
        @{ Name = 'a host that is an option'; With = @{ SlurmHost = '-oProxyCommand=id' }; Id = 'SlurmHostInvalid' }
        @{ Name = 'a folder that is none'; With = @{ SlurmFolder = 'here' }; Id = 'SlurmFolderInvalid' }
        @{ Name = 'a value of two lines'; With = @{ ResourceArgs = @{ slurm = @{ time = "1`n2" } } }; Id = 'SlurmArgumentInvalid' }
    ) {
        $null = Start-WandbLaunch $folder @slurm @With -ErrorAction SilentlyContinue -ErrorVariable problem
        $problem[0].FullyQualifiedErrorId | Should -BeLike "$Id,*"
        "$($problem[0].CategoryInfo.Category)" | Should -Be InvalidArgument
    }
}

Describe 'The resource' {
    It 'is completed' {
        (TabExpansion2 'Start-WandbLaunch x -Resource sl').CompletionMatches.CompletionText | Should -Be slurm
    }

    It 'needs its admin''s leave, and says its settings' {
        $file = (Register-WandbLaunchAgent -Name cluster -Queue q -AllowResource slurm -SlurmHost me@login -SlurmFolder /scratch/me -AllowSlurmArgument nodelist -WhatIf).ConfigContent | ConvertFrom-Json
        $file.slurm_host, $file.slurm_folder, $file.policy.slurm_args | Should -Be me@login, /scratch/me, nodelist
        { Register-WandbLaunchAgent -Name cluster -Queue q -AllowSlurmArgument wrap -WhatIf -ErrorAction Stop } | Should -Throw -ErrorId 'SlurmArgumentRefused,*'
    }
}
