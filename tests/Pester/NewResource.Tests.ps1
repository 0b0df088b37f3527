# A resource that somebody added: one folder, and one line in the catalog (tests/WandbLaunch.NewResource). All else is the
# module as it is built for users.
BeforeAll {
    . $PSScriptRoot/Common.ps1
    $core = Join-Path $PSScriptRoot ../../out/tests/NewResource/WandbLaunch.Core.dll
    if (-not (Test-Path $core)) { throw "$core is missing: dotnet build tests/WandbLaunch.NewResource" }
    Start-TestHome -Connect -Core $core
    $folder = New-TestFolder
    $uri = New-TestRepository
}
AfterAll { Stop-TestHome }

Describe 'A resource that was added' {
    It 'is completed by Tab, with its tip' {
        Get-Completion 'Start-WandbLaunch x -Resource ' | Should -Be local-container, echo, local-process, kubernetes, slurm
        (TabExpansion2 'Start-WandbLaunch x -Resource e' 31).CompletionMatches[0].ToolTip | Should -Be 'says it again'
        Get-Completion 'Start-WandbLaunchAgent -AllowResource e' | Should -Be echo
    }

    It 'is planned, and nothing is started' {
        $plan = Start-WandbLaunch $folder -Resource parrot -EntryPoint 'python main.py' -Argument a, b -WhatIf
        $plan.Resource, $plan.Command, $plan.Prepared | Should -Be echo, 'python main.py a b', $true
        Get-WandbLaunch | Should -BeNullOrEmpty
    }

    It 'says itself what is wrong with its arguments' {
        $fault = Get-Fault { Start-WandbLaunch $folder -Resource echo -ResourceArgs @{ echo = @{ loud = 1 } } }
        $fault.Id, $fault.Category | Should -Be EchoArgumentInvalid, InvalidArgument
        (Get-Fault { Start-WandbLaunch $folder -Resource ecco }).Message | Should -Match 'local-container, echo, local-process, kubernetes, slurm'
    }

    It 'launches, lists, and shows what was printed' {
        $run = Start-WandbLaunch $folder -Resource echo -Argument 'two words', ü -Quiet
        $run.State, $run.ExitCode, $run.Resource | Should -Be Finished, 0, echo
        "$($run.Handle)", $run.ProcessId, $run.ContainerId | Should -Be "echo $($run.Id)", $null, $null
        (Get-WandbLaunch $run.Id).State | Should -Be Finished
        $run | Receive-WandbLaunchLog | Should -Be 'two words', ü
        Get-ChildItem (Join-Path $env:WANDBLAUNCH_HOME echo) | Should -BeNullOrEmpty
    }

    It 'fails as its engine says' {
        $run = Start-WandbLaunch $folder -Resource echo -ResourceArgs @{ parrot = @{ exit_code = 3 } } -Quiet -ErrorAction SilentlyContinue -ErrorVariable problem
        $run.State, $run.ExitCode | Should -Be Failed, 3
        $problem[0].FullyQualifiedErrorId | Should -BeLike 'RunFailed,*'
    }

    It 'goes on without its shell, and no process stands beside it' {
        $id = Invoke-Pwsh "(Start-WandbLaunch '$folder' -Resource echo -ResourceArgs @{ echo = @{ seconds = 3; exit_code = 5 } } -Argument said -NoWait).Id"
        (Get-WandbLaunch $id).State | Should -Be Running
        & "$PSScriptRoot/../Get-LeftProcess.ps1" $TestHome | Where-Object { $_ -match 'Host' } | Should -BeNullOrEmpty
        Receive-WandbLaunchLog $id | Should -Be said
        Receive-WandbLaunchLog $id -Follow | Should -Be said
        $run = Wait-WandbLaunch $id -ErrorAction SilentlyContinue
        $run.State, $run.ExitCode | Should -Be Failed, 5
        Receive-WandbLaunchLog $id | Should -Be said
    }

    It 'is stopped from another shell' {
        $run = Start-WandbLaunch $folder -Resource echo -ResourceArgs @{ echo = @{ seconds = 600 } } -NoWait
        $run.State | Should -Be Running
        (Stop-WandbLaunch $run.Id -PassThru).State | Should -Be Stopped
        (Get-WandbLaunch $run.Id).ExitCode | Should -Be 143
        $running = Measure-Stop "Start-WandbLaunch '$folder' -Resource echo -ResourceArgs @{ echo = @{ seconds = 600 } } -RunId ctrlc" -When { (Get-WandbLaunch ctrl*).State -eq 'Running' }
        $running.TotalSeconds | Should -BeLessThan 10
        (Get-WandbLaunch ctrlc).State | Should -Be Stopped
    }

    It 'waits for its engine, and says what for' {
        $id = (Start-WandbLaunch $folder -Resource echo -ResourceArgs @{ echo = @{ breath = 2; exit_code = 7 } } -NoWait).Id
        $run = Get-WandbLaunch $id
        $run.State, $run.Reason, $run.Started | Should -Be Pending, 'it takes a breath', $null
        $run = $run | Wait-WandbLaunch -ErrorAction SilentlyContinue
        $run.State, $run.ExitCode, $run.Reason | Should -Be Failed, 7, $null
        $run.Started | Should -BeLessThan $run.Finished

        $pending = Start-WandbLaunch $folder -Resource echo -ResourceArgs @{ echo = @{ breath = 600 } } -NoWait
        (Stop-WandbLaunch $pending.Id -PassThru).State | Should -Be Stopped

        $null = New-WandbRunQueue breaths
        $null = Add-WandbLaunchQueueItem $uri -Queue breaths -Resource echo -ResourceArgs @{ echo = @{ breath = 2 } }
        $events = Start-WandbLaunchAgent -Queue breaths -Name patient -StopWhenEmpty -AllowResource echo -AllowGitHost file
        $said = $events | Where-Object Kind -In RunPending, RunStarted, RunFinished
        $said.Kind | Select-Object -Unique | Should -Be RunPending, RunStarted, RunFinished
        @($said | Where-Object Kind -EQ RunPending)[-1].Message | Should -Be 'it takes a breath'
    }

    It 'is queued and run by an agent that allows it' {
        $null = New-WandbRunQueue echoes
        $null = Add-WandbLaunchQueueItem $uri -Queue echoes -Resource echo -Argument one
        $null = Add-WandbLaunchQueueItem $uri -Queue echoes -Resource echo -Argument two -ResourceArgs @{ echo = @{ exit_code = 4 } }
        $events = Start-WandbLaunchAgent -Queue echoes -Name listener -StopWhenEmpty -AllowResource parrot -AllowGitHost file
        (Get-WandbLaunchQueueItem echoes | ForEach-Object { "$($_.State) $($_.ExitCode)" }) | Should -Be 'finished 0', 'failed 4'
        @($events | Where-Object Kind -EQ RunStarted)[0].Message | Should -BeLike 'echo *'
        Get-WandbLaunch | Where-Object Agent -EQ listener | Receive-WandbLaunchLog | Should -Be two, one
    }

    It 'is refused by an agent that does not' {
        $null = New-WandbRunQueue refused
        $null = Add-WandbLaunchQueueItem $uri -Queue refused -Resource echo
        $null = Start-WandbLaunchAgent -Queue refused -Name careful -StopWhenEmpty -AllowGitHost file
        $item = Get-WandbLaunchQueueItem refused
        $item.State | Should -Be failed
        $item.Error | Should -Match 'the resource echo is not allowed on this agent, only local-container; an echo is heard by everybody'
    }

    It 'goes on when its agent is killed, and the next agent reports it' {
        $null = New-WandbRunQueue killed
        $null = Add-WandbLaunchQueueItem $uri -Queue killed -Resource echo -Argument once -ResourceArgs @{ echo = @{ seconds = 8; exit_code = 6 } }
        $script = Join-Path $TestHome agent.ps1
        Set-Content $script "Import-Module '$env:WANDBLAUNCH_MODULE'; `$null = Connect-Wandb -Local; Start-WandbLaunchAgent -Queue killed -Name mortal -AllowResource echo -AllowGitHost file"
        $program = [Environment]::ProcessPath
        $words = @(if ((Split-Path $program -LeafBase) -ne 'pwsh') { Join-Path $PSHOME pwsh.dll }) + '-NoProfile', '-File', $script
        $agent = Start-Process $program $words -PassThru -RedirectStandardOutput (Join-Path $TestHome agent.out)
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (-not (Get-WandbLaunch | Where-Object { $_.Agent -eq 'mortal' -and $_.State -eq 'Running' }) -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 200 }
        $agent.Kill()
        $agent.WaitForExit()
        $null = Start-WandbLaunchAgent -Queue killed -Name mortal -StopWhenEmpty -AllowResource echo -AllowGitHost file
        $item = Get-WandbLaunchQueueItem killed
        $item.State, $item.ExitCode | Should -Be failed, 6
        Get-WandbLaunch | Where-Object Agent -EQ mortal | Receive-WandbLaunchLog | Should -Be once
    }
}
