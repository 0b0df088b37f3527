BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $null = New-WandbRunQueue work
    $uri = New-TestRepository repo 'import sys; print(sys.argv[1:]); sys.exit(int(sys.argv[2]))'
    $items = 0, 3 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process -Argument "code=$_" }
    Start-WandbLaunchAgent -Name one -Queue work -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -Quiet | Out-Null
}
AfterAll { Stop-TestHome }

Describe 'Receive-WandbLaunchAgentLog' {
    It 'writes what the agent did, as objects, oldest first' {
        $events = Receive-WandbLaunchAgentLog one
        $events[0].Kind, $events[-1].Kind | Should -Be AgentStarted, AgentStopped
        ($events | Where-Object Kind -EQ RunFinished).ItemId | Should -Be $items[0].Id
        ($events | Where-Object Kind -EQ RunFailed).ExitCode | Should -Be 3
        $events.Time | Should -Be ($events.Time | Sort-Object)
        (Receive-WandbLaunchAgentLog o* -Tail 2).Kind | Should -Be $events[-2].Kind, AgentStopped
        (Get-WandbLaunchAgent one | Receive-WandbLaunchAgentLog -Tail 1).Kind | Should -Be AgentStopped
        # An event leads on to its item, its launch and its log.
        $failed = $events | Where-Object Kind -EQ RunFailed
        ($failed | Get-WandbLaunchQueueItem).Id | Should -Be $items[1].Id
        ($failed | Get-WandbLaunch).ExitCode | Should -Be 3
        $failed | Receive-WandbLaunchLog | Should -Be "['--code', '3']"
        # A run that goes on after it was preempted is a launch of another id. People know it by its run: every command finds it by that, and acts on the launch.
        $launch = $failed | Get-WandbLaunch
        $state = Join-Path (Split-Path $launch.LogPath) run.json
        $written = Get-Content $state -Raw | ConvertFrom-Json -AsHashtable
        $written.RunId = 'preempted'
        Set-Content $state (ConvertTo-Json $written -Depth 9)
        $launch = $failed | Get-WandbLaunch
        $launch.RunId | Should -Be preempted
        (Get-WandbLaunch $launch.RunId).Id | Should -Be $launch.Id
        Receive-WandbLaunchLog $launch.RunId -Follow | Should -Be "['--code', '3']"
        (Wait-WandbLaunch $launch.RunId -ErrorAction SilentlyContinue).Id | Should -Be $launch.Id
        (Stop-WandbLaunch $launch.RunId -PassThru).Id | Should -Be $launch.Id
        Remove-WandbLaunch $launch.RunId -Confirm:$false
        $launch.LogPath | Should -Not -Exist
        (Get-Fault { Get-WandbLaunch $launch.Id }).Id | Should -Be LaunchNotFound
    }

    It 'follows an agent until it ends' {
        $null = Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process -Argument code=0
        $job = Start-ThreadJob { param($module) Import-Module $module; Start-WandbLaunchAgent -Name two -Queue work -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -Quiet | Out-Null } -ArgumentList $env:WANDBLAUNCH_MODULE
        while (-not (Get-WandbLaunchAgent two -ErrorAction Ignore)) { Start-Sleep -Milliseconds 50 }
        $events = Receive-WandbLaunchAgentLog two -Follow
        $null = $job | Wait-Job | Receive-Job
        $events[-1].Kind | Should -Be AgentStopped
        @($events | Where-Object Kind -EQ RunFinished).Count | Should -Be 1
        @($events | Group-Object { "$($_.Time) $($_.Kind) $($_.Message)" } | Where-Object Count -GT 1).Count | Should -Be 0
        $job | Remove-Job
    }

    It 'says what is not there, and completes' {
        $fault = Get-Fault { Receive-WandbLaunchAgentLog nosuch }
        $fault.Id, $fault.Target | Should -Be AgentNotFound, nosuch
        Receive-WandbLaunchAgentLog nosuch* | Should -BeNullOrEmpty
        Get-Completion 'Receive-WandbLaunchAgentLog o' | Should -Be one
    }
}
