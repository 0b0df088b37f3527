BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $folder = New-TestFolder
    Set-Content (Join-Path $folder fail.py) 'raise SystemExit(3)'
    Set-Content (Join-Path $folder sleep.py) "import time`nprint('up', flush=True)`ntime.sleep(600)"
    function Start-Sleeper { Start-WandbLaunch $folder -EntryPoint 'python sleep.py' -Resource local-process -NoWait }
    function Invoke-Python { & (Get-Command python3, python -ErrorAction Ignore)[0] -c @args }
    function Test-Up { Get-WandbLaunch -State Running | Where-Object { Select-String up $_.LogPath -Quiet -ErrorAction Ignore } }
}
AfterAll { Stop-TestHome }

Describe 'Start-WandbLaunch' {
    AfterEach { Get-WandbLaunch -State Starting, Running | Stop-WandbLaunch }

    It 'runs a folder with words, variables and no packages' {
        Set-Content (Join-Path $folder env.py) "import os, sys`nprint(os.environ['COLOUR'], sys.argv[1:])"
        $run = Start-WandbLaunch -Uri $folder -EntryPoint 'python env.py' -Argument a, b -Environment @{ COLOUR = 'blue' } -NoInstall -Resource local-process -Quiet -StopGracePeriod 1 -RunId chosen01 -Name mine
        $run.Id, $run.State, $run.ExitCode | Should -Be chosen01, Finished, 0
        $run | Receive-WandbLaunchLog | Should -Be "blue ['a', 'b']"
    }

    It 'makes a virtual environment once, unless -NoInstall is given' {
        Get-WandbLaunchCache venvs | Should -BeNullOrEmpty
        (Start-WandbLaunch $folder -Resource local-process -NoInstall:$false -Quiet).ExitCode | Should -Be 0
        @(Get-WandbLaunchCache venvs).Count | Should -Be 1
        (Start-WandbLaunch $folder -Argument again -Resource local-process -NoInstall:$false -Quiet | Receive-WandbLaunchLog) | Should -Be "['again']"
        @(Get-WandbLaunchCache venvs).Count | Should -Be 1
    }

    It 'shows the log while the run goes on, and not with -Quiet' {
        $shown = Invoke-Pwsh "`$null = Start-WandbLaunch '$folder' -Argument shown -Resource local-process"
        $shown -join "`n" | Should -Match "\['shown'\]"
        Invoke-Pwsh "`$null = Start-WandbLaunch '$folder' -Argument shown -Resource local-process -Quiet" | Should -BeNullOrEmpty
    }

    It 'makes $? false when the run fails' {
        $run = Start-WandbLaunch $folder -EntryPoint 'python fail.py' -Resource local-process -Quiet -ErrorAction SilentlyContinue -ErrorVariable problem
        $? | Should -BeFalse
        $run.ExitCode | Should -Be 3
        $problem[0].FullyQualifiedErrorId | Should -BeLike 'RunFailed,*'
        $problem[0].TargetObject.Id | Should -Be $run.Id
        { Start-WandbLaunch $folder -EntryPoint 'python fail.py' -Resource local-process -Quiet -ErrorAction Stop } | Should -Throw '*exit code 3*'
    }

    It 'starts nothing with -WhatIf, and shows what it would' {
        $before = @(Get-WandbLaunch).Count
        $plan = Start-WandbLaunch $folder -EntryPoint 'python main.py' -Resource local-process -WhatIf
        "$($plan.Command)" | Should -Match 'main.py'
        $plan | Get-View -List | Should -Match 'Command\s+:'
        $plan | Get-View | Should -Match 'Resource\s+Commit'
        @(Get-WandbLaunch).Count | Should -Be $before
    }

    It 'asks with -Confirm, and takes a no' {
        $before = @(Get-WandbLaunch).Count
        $lines = Invoke-Pwsh "Start-WandbLaunch '$folder' -Resource local-process -Quiet -Confirm" -Answer n
        $lines -join ' ' | Should -Match 'Are you sure'
        @(Get-WandbLaunch).Count | Should -Be $before
    }

    It 'takes many from the pipeline, and two at a time with -ThrottleLimit' {
        $runs = 1..3 | ForEach-Object { New-WandbLaunchConfig $folder -Argument "n=$_" } | Start-WandbLaunch -Resource local-process -ThrottleLimit 2 -Quiet
        ($runs | Receive-WandbLaunchLog | Sort-Object) | Should -Be (1..3 | ForEach-Object { "['--n', '$_']" })
    }

    It 'runs a commit of a repository' {
        $run = Start-WandbLaunch (New-TestRepository) -Resource local-process -Quiet
        $run.ExitCode | Should -Be 0
        $run | Get-View -Width 140 | Should -Match ([regex]::Escape("$($run.Commit)".Substring(0, 7)))
    }

    It 'says what cannot be run' {
        (Get-Fault { Start-WandbLaunch }).Id | Should -Be SourceMissing
        $fault = Get-Fault { Start-WandbLaunch ./none -Resource local-process }
        $fault.Category | Should -BeIn ObjectNotFound, InvalidArgument
        $fault.Target | Should -Not -BeNullOrEmpty
        (Get-Fault { Start-WandbLaunch $folder -Resource nothing }).Id | Should -Not -BeNullOrEmpty
        (Get-Fault { Start-WandbLaunch $folder -EntryPoint 'python main.py' -BaseImage x -DockerHost unix:///no/such.sock }).Id | Should -Be DockerUnavailable
        (Get-Fault { Start-WandbLaunch $folder -RunId 'a/b' -Resource local-process }).Id | Should -Be RunIdInvalid
        (Get-Fault { Start-WandbLaunch $folder -NoWait -Queue default }).Id | Should -Be NoWaitWithQueue
    }

    It 'leaves no run behind when it is stopped' {
        (Measure-Stop "Start-WandbLaunch '$folder' -EntryPoint 'python sleep.py' -Resource local-process -StopGracePeriod 0" { Test-Up }).TotalSeconds | Should -BeLessThan 10
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while ((Get-WandbLaunch -State Starting, Running, Stopping) -and $clock.Elapsed.TotalSeconds -lt 10) { Start-Sleep -Milliseconds 100 }
        (Get-WandbLaunch | Select-Object -First 1).State | Should -Be Stopped
        & $PSScriptRoot/../Get-LeftProcess.ps1 sleep.py | Should -BeNullOrEmpty
    }

    It 'has a live line for each run from the first moment, which goes on while it runs' {
        Set-Content (Join-Path $folder slow.py) "import sys, time`nprint('at work with', sys.argv[2], flush=True)`ntime.sleep(3)"
        $shell = [powershell]::Create([initialsessionstate]::CreateDefault())
        try {
            $null = $shell.AddScript("Set-Location '$PWD'; Import-Module '$env:WANDBLAUNCH_MODULE'; 1..4 | ForEach-Object { New-WandbLaunchConfig '$folder' -EntryPoint 'python slow.py' -Argument n=`$_ } | Start-WandbLaunch -Resource local-process -NoInstall -ThrottleLimit 4").Invoke()
            $lines = @($shell.Streams.Progress | Where-Object Activity -Match 'train')
            ($lines.ActivityId | Sort-Object -Unique) | Should -Be 1, 2, 3, 4
            foreach ($number in 1..4) {
                $mine = @($lines | Where-Object ActivityId -EQ $number)
                $mine[0].Activity, $mine[0].StatusDescription | Should -Be "${number}: train --n $number", starting
                # Then under the id of its run: how long it runs, and what it printed last.
                @($mine.StatusDescription -match "^0:\d\d at work with $number`$").Count | Should -BeGreaterThan 0
                ($mine | Where-Object StatusDescription -Match 'at work')[0].Activity | Should -Match "^[a-z0-9]{8} train --n $number$"
                $mine[-1].RecordType | Should -Be Completed
            }
        } finally { $shell.Dispose() }
    }

    It 'says after Ctrl+C what was stopped and how to go on, to the person and not into the pipeline' {
        $lines = Invoke-Pwsh @"
            `$shell = [powershell]::Create()
            `$shell.Runspace = [runspacefactory]::CreateRunspace(`$Host)
            `$shell.Runspace.Open()
            `$null = `$shell.AddScript("Set-Location '$PWD'; Import-Module '$env:WANDBLAUNCH_MODULE'; 1..2 | ForEach-Object { New-WandbLaunchConfig '$folder' -EntryPoint 'python sleep.py' -Argument n=```$_ } | Start-WandbLaunch -Resource local-process -NoInstall -ThrottleLimit 2 -StopGracePeriod 0")
            `$out = [Management.Automation.PSDataCollection[psobject]]::new()
            `$running = `$shell.BeginInvoke([Management.Automation.PSDataCollection[psobject]]::new(), `$out)
            while (@(Get-WandbLaunch -State Running | Where-Object { Select-String up `$_.LogPath -Quiet }).Count -lt 2) { Start-Sleep -Milliseconds 100 }
            `$shell.Stop()
            "objects: `$(`$out.Count)"
            "ids: `$((Get-WandbLaunch -State Stopped | Select-Object -First 2).Id -join ' ')"
"@
        $ids = (($lines -match '^ids: ') -replace '^ids: ').Split(' ')
        $lines | Should -Contain 'objects: 0'
        $said = $lines -match '^Stopped 2 runs: '
        $again = $lines -match '^To launch them again.*Get-WandbLaunch .* \| Start-WandbLaunch -ThrottleLimit 2$'
        $said, $again | Should -HaveCount 2
        foreach ($id in $ids) { $said, $again | Should -Match $id }
    }

    It 'is silent with -Quiet, but for objects, warnings and errors' {
        $shell = [powershell]::Create([initialsessionstate]::CreateDefault())
        try {
            $out = $shell.AddScript("Set-Location '$PWD'; Import-Module '$env:WANDBLAUNCH_MODULE'; Start-WandbLaunch '$folder' -EntryPoint 'python fail.py' -Resource local-process -NoInstall -Quiet").Invoke()
            $out.State | Should -Be Failed
            $shell.Streams.Error.Count | Should -Be 1
            $shell.Streams.Progress | Where-Object Activity -Match 'train' | Should -BeNullOrEmpty
            $shell.Streams.Information | Should -BeNullOrEmpty
        } finally { $shell.Dispose() }
    }

    It 'says what a new environment is doing, and why it failed in one line' {
        $wheels = New-Item -ItemType Directory (Join-Path $PWD wheels)
        # The smallest wheel that pip takes.
        $null = Invoke-Python "import zipfile; z = zipfile.ZipFile(r'$wheels/tiny-1.0-py3-none-any.whl', 'w'); i = 'tiny-1.0.dist-info/'; z.writestr('tiny.py', ''); z.writestr(i + 'METADATA', 'Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n'); z.writestr(i + 'WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'); z.writestr(i + 'RECORD', '')"
        $new = New-TestFolder packages
        $launch = {
            param($More)
            $shell = [powershell]::Create([initialsessionstate]::CreateDefault())
            try {
                $null = $shell.AddScript("Set-Location '$PWD'; Import-Module '$env:WANDBLAUNCH_MODULE'; Start-WandbLaunch '$new' -Resource local-process $More").Invoke()
                [pscustomobject]@{ Progress = @($shell.Streams.Progress.StatusDescription); Errors = @($shell.Streams.Error) }
            } finally { $shell.Dispose() }
        }
        Set-Content (Join-Path $new requirements.txt) 'tiny==1.0'
        $good = & $launch "-PipNoIndex -PipFindLinks '$wheels'"
        $good.Errors | Should -BeNullOrEmpty
        foreach ($step in 'creating the environment', 'collecting tiny-1.0-py3-none-any.whl', 'installing 1 package') { $good.Progress | Should -Contain $step }

        Set-Content (Join-Path $new requirements.txt) 'no-such-package==9'
        $env:PIP_RETRIES = 2
        try { $bad = & $launch '-PipIndexUrl http://127.0.0.1:9/simple' } finally { $env:PIP_RETRIES = $null }
        $bad.Progress -match 'Retry\(|urllib3' | Should -BeNullOrEmpty
        $bad.Progress | Should -Contain 'the package index does not answer, trying again (2)'
        $bad.Errors.Count | Should -Be 1
        "$($bad.Errors[0])" | Should -Match '^pip could not install the requirements: the package index cannot be reached \(.*refused\)\. '
        "$($bad.Errors[0])" | Should -Not -Match "`n"
        # All the rest is where the message says.
        $null = "$($bad.Errors[0])" -match 'All that pip said: (.*)$'
        $Matches[1] | Should -FileContentMatch 'Retry\('
        (Get-WandbLaunchCache venvs).Path | Should -Contain (Split-Path $Matches[1])

        $missing = & $launch '-PipNoIndex'
        "$($missing.Errors[0])" | Should -Match 'No matching distribution found for no-such-package==9\. '
    }

    It 'runs in a NonInteractive pwsh, whose exit code a script sets' {
        Invoke-Pwsh "`$run = Start-WandbLaunch '$folder' -EntryPoint 'python fail.py' -Resource local-process -Quiet -ErrorAction SilentlyContinue; exit `$run.ExitCode" | Should -BeNullOrEmpty
        $LASTEXITCODE | Should -Be 3
    }

    It 'completes resources' {
        Get-Completion 'Start-WandbLaunch x -Resource lo' | Should -Be local-container, local-process
    }
}

Describe 'Get-WandbLaunch' {
    AfterEach { Get-WandbLaunch -State Starting, Running | Stop-WandbLaunch }

    It 'finds launches by id, wildcard, state and from the pipeline' {
        $run = Start-WandbLaunch $folder -Resource local-process -Quiet
        (Get-WandbLaunch $run.Id).Id | Should -Be $run.Id
        (Get-WandbLaunch -Id "$($run.Id.Substring(0, 5))*" -State Finished).Id | Should -Contain $run.Id
        ($run | Get-WandbLaunch).Id | Should -Be $run.Id
        ($run.Id | Get-WandbLaunch).Id | Should -Be $run.Id
        Get-WandbLaunch nothing* | Should -BeNullOrEmpty
    }

    It 'stops early with Select-Object -First' {
        (Get-WandbLaunch | Select-Object -First 1).Id | Should -Not -BeNullOrEmpty
    }

    It 'says what is not there' {
        $fault = Get-Fault { Get-WandbLaunch nosuch }
        $fault.Id, $fault.Category, $fault.Target | Should -Be LaunchNotFound, ObjectNotFound, nosuch
    }

    It 'shows tables and lists at any width' {
        Get-WandbLaunch | Get-View -Width 140 | Should -Match 'Id\s+State\s+Exit\s+Duration\s+Reason\s+Arguments\s+Resource\s+Commit\s+Source'
        Get-WandbLaunch | Get-View -Width 60 | Should -Match 'Id\s+State\s+Exit'
        Get-WandbLaunch | Get-View -List | Should -Match 'LogPath\s+:'
    }

    It 'completes ids and states' {
        $id = (Get-WandbLaunch)[0].Id
        Get-Completion "Get-WandbLaunch $($id.Substring(0, 4))" | Should -Contain $id
        Get-Completion 'Get-WandbLaunch -State Fin' | Should -Be Finished
    }
}

Describe 'Wait-WandbLaunch' {
    AfterEach { Get-WandbLaunch -State Starting, Running | Stop-WandbLaunch }

    It 'writes each launch when it is done, and a failed one as an error too' {
        $runs = (Start-WandbLaunch $folder -Resource local-process -NoWait), (Start-WandbLaunch $folder -EntryPoint 'python fail.py' -Resource local-process -NoWait)
        $done = $runs | Wait-WandbLaunch -ErrorAction SilentlyContinue -ErrorVariable fault
        $done.ExitCode | Should -Be 0, 3
        ($fault | Where-Object FullyQualifiedErrorId -Like 'RunFailed,*').TargetObject.Id | Should -Contain $runs[1].Id
    }

    It 'has one deadline for all that it waits for' {
        $runs = 1..3 | ForEach-Object { Start-Sleeper }
        $clock = [Diagnostics.Stopwatch]::StartNew()
        @(Get-Fault { $runs | Wait-WandbLaunch -Timeout 5 }).Id | Should -Be WaitTimeout, WaitTimeout, WaitTimeout
        $clock.Elapsed.TotalSeconds | Should -BeLessThan 13
    }

    It 'gives up after -Timeout and leaves the run alone' {
        $run = Start-Sleeper
        $fault = Get-Fault { Wait-WandbLaunch -Id $run.Id -Timeout 0 }
        $fault.Id, $fault.Category | Should -Be WaitTimeout, OperationTimeout
        (Get-WandbLaunch $run.Id).State | Should -BeIn Starting, Running
    }

    It 'is stopped within a second and leaves the run alone' {
        $run = Start-Sleeper
        (Measure-Stop "Wait-WandbLaunch $($run.Id)" { Test-Up }).TotalSeconds | Should -BeLessThan 10
        (Get-WandbLaunch $run.Id).State | Should -Be Running
    }
}

Describe 'Stop-WandbLaunch' {
    AfterEach { Get-WandbLaunch -State Starting, Running | Stop-WandbLaunch }

    It 'stops what runs, from the pipeline and by id' {
        $run = Start-Sleeper
        (Get-WandbLaunch -State Starting, Running | Stop-WandbLaunch -PassThru).State | Should -Be Stopped
        $other = Start-Sleeper
        Stop-WandbLaunch -Id $other.Id | Should -BeNullOrEmpty
        (Get-WandbLaunch $run.Id, $other.Id).State | Should -Be Stopped, Stopped
        & $PSScriptRoot/../Get-LeftProcess.ps1 sleep.py | Should -BeNullOrEmpty
    }

    It 'stops nothing with -WhatIf, and nothing after a no' {
        $run = Start-Sleeper
        Stop-WandbLaunch $run.Id -WhatIf
        (Invoke-Pwsh "Stop-WandbLaunch $($run.Id) -Confirm" -Answer n) -join ' ' | Should -Match 'Are you sure'
        (Get-WandbLaunch $run.Id).State | Should -BeIn Starting, Running
    }

    It 'says what is not there and goes on' {
        $run = Start-Sleeper
        $fault = Get-Fault { Stop-WandbLaunch nosuch, $run.Id }
        $fault.Id, $fault.Target | Should -Be LaunchNotFound, nosuch
        (Get-WandbLaunch $run.Id).State | Should -Be Stopped
    }
}

Describe 'Remove-WandbLaunch' {
    AfterEach { Get-WandbLaunch -State Starting, Running | Stop-WandbLaunch }

    It 'removes what is done, with its folder' {
        $run = Start-WandbLaunch $folder -Resource local-process -Quiet
        Remove-WandbLaunch $run.Id -WhatIf
        $run.LogPath | Should -Exist
        ($run | Remove-WandbLaunch -Confirm:$false -PassThru).Id | Should -Be $run.Id
        $run.LogPath | Should -Not -Exist
        (Get-Fault { Get-WandbLaunch $run.Id }).Id | Should -Be LaunchNotFound
    }

    It 'asks first: it cannot be undone' {
        $run = Start-WandbLaunch $folder -Resource local-process -Quiet
        Invoke-Pwsh "Remove-WandbLaunch $($run.Id)" -Answer n | Out-Null
        $run.LogPath | Should -Exist
        # Nobody is there to be asked.
        Invoke-Pwsh "try { Remove-WandbLaunch -Id $($run.Id) -ErrorAction Stop } catch { 'refused' }" | Should -Be refused
        $run.LogPath | Should -Exist
    }

    It 'does not remove what runs' {
        $run = Start-Sleeper
        (Get-Fault { Remove-WandbLaunch $run.Id -Confirm:$false }).Id | Should -Be RunNotDone
    }
}

Describe 'launches in the pipeline and in scripts' {
    It 'launches a launch again, from its source, commit and arguments, also from another folder' {
        $repository = New-TestRepository again
        $first = Start-WandbLaunch $repository -Resource local-process -Argument lr=0.5 -Quiet
        Set-Content (Join-Path (Join-Path $PWD again) main.py) 'print("changed since")'
        git -C (Join-Path $PWD again) commit --quiet --all -m two
        Push-Location ([IO.Path]::GetTempPath())
        try { $second = $first | Start-WandbLaunch -Quiet } finally { Pop-Location }
        $second.Id | Should -Not -Be $first.Id
        $second.Commit | Should -Be $first.Commit
        $second.Resource, ($second | Receive-WandbLaunchLog) | Should -Be local-process, "['--lr', '0.5']"
        # From any shell, after a file, and with something changed.
        (Get-WandbLaunch $first.Id | ConvertTo-Json | ConvertFrom-Json | Start-WandbLaunch -Argument lr=1 -Quiet | Receive-WandbLaunchLog) | Should -Be "['--lr', '1']"
        $plain = Start-WandbLaunch $folder -Resource local-process -Quiet
        ($plain | Start-WandbLaunch -Quiet).Source | Should -Be $folder
        (Get-Fault { $plain | Start-WandbLaunch -Queue default }).Id | Should -BeIn FolderCannotBeQueued, ApiKeyMissing
    }

    It 'keeps no secret with what launches it again' {
        $run = Start-WandbLaunch $folder -Resource local-process -Quiet -DockerArgs @{ e = 'MY_API_KEY=hunter2-kept', 'PLAIN=1' } -ResourceArgs @{ 'local-container' = @{ env = 'OTHER_TOKEN=hunter2-kept' } } -Environment @{ THIRD_SECRET = 'hunter2-kept' }
        $run | ConvertTo-Json -Depth 9 | Should -Not -Match hunter2
        $run.Config | Should -Match 'PLAIN=1'
        Get-ChildItem (Split-Path $run.LogPath) -File -Recurse | Get-Content -Raw | Should -Not -Match hunter2
    }

    It 'is found by its run, and stopped and removed by wildcard' {
        $runs = 1..2 | ForEach-Object { Start-WandbLaunch $folder -Resource local-process -RunId "wild$_" -NoWait -Quiet }
        (Wait-WandbLaunch wild* | Measure-Object).Count | Should -Be 2
        ([pscustomobject]@{ PSTypeName = 'WandbLaunch.Wandb.WandbRun'; Id = 'wild1'; Name = 'other' } | Get-WandbLaunch).Id | Should -Be wild1
        $item = [pscustomobject]@{ PSTypeName = 'WandbLaunch.Wandb.WandbLaunchQueueItem'; Id = '2063'; State = 'Claimed'; RunId = 'wild2' }
        ($item | Get-WandbLaunch).Id | Should -Be wild2
        $item | Receive-WandbLaunchLog | Should -Be '[]'
        $item.RunId = $null
        (Get-Fault { $item | Stop-WandbLaunch }).Id | Should -Be RunMissing
        Remove-WandbLaunch wild* -Confirm:$false
        Get-WandbLaunch wild* | Should -BeNullOrEmpty
    }

    It 'has parameters for here and for a queue that exclude each other' {
        foreach ($more in @{ Volume = '/a:/b' }, @{ Environment = @{ a = 1 } }, @{ PipIndexUrl = 'https://example.org' }, @{ ThrottleLimit = 2 }) {
            (Get-Fault { Start-WandbLaunch https://github.com/me/train -Queue default @more }).Id | Should -Be AmbiguousParameterSet
        }
    }

    It 'tells its steps with their time when it is asked to' {
        $said = Start-WandbLaunch $folder -Resource local-process -Quiet -Verbose 4>&1 | Where-Object { $_ -is [Management.Automation.VerboseRecord] }
        @($said) -match '^\[\d+\.\d{3} s\] Launching train: resolving ' | Should -HaveCount 1
        Start-WandbLaunch $folder -Resource local-process -Quiet 4>&1 | Where-Object { $_ -is [Management.Automation.VerboseRecord] } | Should -BeNullOrEmpty
    }

    It 'says by $LASTEXITCODE how it ended, on every way out' {
        $script = { param($Line) @(Invoke-Pwsh "`$global:LASTEXITCODE = 77; try { $Line *> `$null } catch { }; `$LASTEXITCODE")[-1] }
        & $script "Start-WandbLaunch '$folder' -Resource local-process -Quiet" | Should -Be 0
        & $script "Start-WandbLaunch '$(New-TestFolder exits 'import sys; sys.exit(5)')' -Resource local-process -Quiet" | Should -Be 5
        & $script "Start-WandbLaunch ./nosuch -Resource local-process" | Should -Be 1
        & $script "Start-WandbLaunch ./nosuch -Resource local-process -ErrorAction Stop" | Should -Be 1
        & $script 'Start-WandbLaunchAgent -Queue nope' | Should -Be 1
        & $script "`$null = Connect-Wandb -Local; Start-WandbLaunchAgent -Queue nope -ErrorAction Stop" | Should -Be 1
    }
}

Describe 'Show-WandbLaunch' -Skip:$IsWindows {
    BeforeAll {
        $null = Connect-Wandb -Local
        $launch = Start-WandbLaunch $folder -Resource local-process -Quiet
    }
    AfterAll { Disconnect-Wandb }
    BeforeEach { Set-TestBrowser }
    AfterEach { $env:BROWSER = Join-Path $TestHome no-browser }

    It 'opens the page of a launch''s run' {
        $launch.Uri | Should -Not -BeNullOrEmpty
        Show-WandbLaunch $launch.Id
        $launch | Show-WandbLaunch -PassThru | Should -Be $launch.Uri
        Get-Opened | Should -Be $launch.Uri, $launch.Uri
        $launch | Show-WandbLaunch -WhatIf
        Get-Opened | Should -BeNullOrEmpty
        Get-Completion 'Show-WandbLaunch ' | Should -Contain $launch.Id
    }

    It 'says what has no page, and what is not there' {
        $bare = @(Invoke-Pwsh "(Start-WandbLaunch '$folder' -Resource local-process -Quiet).Id")[-1]
        $fault = Get-Fault { Show-WandbLaunch $bare }
        $fault.Id, $fault.Target.Id | Should -Be PageMissing, $bare
        (Get-Fault { Show-WandbLaunch nosuch }).Id | Should -Be LaunchNotFound
        Get-Opened | Should -BeNullOrEmpty
    }
}

Describe 'Start-WandbLaunch -AsJob' {
    AfterEach {
        Get-Job | Where-Object PSJobTypeName -EQ WandbLaunch | Remove-Job -Force
        Get-WandbLaunch -State Starting, Running | Stop-WandbLaunch
    }

    It 'is a job whose runs and output come out of Receive-Job' {
        $job = 1..3 | ForEach-Object { New-WandbLaunchConfig $folder -Argument "n=$_" } | Start-WandbLaunch -Resource local-process -ThrottleLimit 2 -AsJob
        $job | Should -BeOfType Management.Automation.Job
        $job.Command | Should -Be 'Start-WandbLaunch train --n 1 and 2 more'
        (Wait-Job $job -Timeout 60).State | Should -Be Completed
        $runs = $job | Receive-Job
        $runs.State | Should -Be Finished, Finished, Finished
        ($runs | ForEach-Object { $_.Arguments -join ' ' } | Sort-Object) | Should -Be '--n 1', '--n 2', '--n 3'
        $job.HasMoreData | Should -BeFalse

        $one = Start-WandbLaunch $folder -Argument { "from-$($PWD.Provider.Name)" } -Resource local-process -AsJob
        $null = $one | Receive-Job -Wait -AutoRemoveJob -InformationVariable printed
        "$printed" | Should -Match "\['from-FileSystem'\]"
        Get-Job | Where-Object Id -EQ $one.Id | Should -BeNullOrEmpty
    }

    It 'has the errors of its runs, and those of input at once' {
        $job = Start-WandbLaunch $folder -EntryPoint 'python fail.py' -Resource local-process -Quiet -AsJob
        $run = $job | Receive-Job -Wait -ErrorAction SilentlyContinue -ErrorVariable fault
        $run.ExitCode | Should -Be 3
        $fault[0].FullyQualifiedErrorId | Should -BeLike 'RunFailed,*'
        (Get-Fault { Start-WandbLaunch -Config @{ uri = $folder; resourc = 'x' } -AsJob }).Id | Should -Be ConfigKeyUnknown
        (Get-Fault { Start-WandbLaunch $folder -NoWait -AsJob }).Id | Should -Be NoWaitAsJob
    }

    It 'stops its runs with Stop-Job, as Ctrl+C does, and still gives them' {
        $job = Start-WandbLaunch $folder -EntryPoint 'python sleep.py' -Resource local-process -StopGracePeriod 0 -AsJob
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (-not (Test-Up) -and $clock.Elapsed.TotalSeconds -lt 60) { Start-Sleep -Milliseconds 100 }
        if ($IsLinux) {
            # Ctrl+C at the prompt is sent to the shell's session, and is not meant for what runs behind it.
            $session = { ((Get-Content "/proc/$($args[0])/stat") -replace '^.*\) ').Split(' ')[3] }
            & $session (Test-Up).ProcessId | Should -Not -Be (& $session $PID)
        }
        $job | Stop-Job
        $job.State | Should -Be Stopped
        ($job | Receive-Job).State | Should -Be Stopped
        & $PSScriptRoot/../Get-LeftProcess.ps1 sleep.py | Should -BeNullOrEmpty
    }

    It 'starts nothing with -WhatIf, and shows the plan' {
        $plan = Start-WandbLaunch $folder -Resource local-process -AsJob -WhatIf
        "$($plan.Command)" | Should -Match 'main.py'
        Get-Job | Where-Object PSJobTypeName -EQ WandbLaunch | Should -BeNullOrEmpty
    }

    It 'ends its runs with the session' {
        $null = Invoke-Pwsh "`$null = Start-WandbLaunch '$folder' -EntryPoint 'python sleep.py' -Resource local-process -StopGracePeriod 0 -AsJob; while (-not (Get-WandbLaunch -State Running | Where-Object { Select-String up `$_.LogPath -Quiet })) { Start-Sleep -Milliseconds 100 }"
        @(Get-WandbLaunch)[0].State | Should -Be Stopped
        & $PSScriptRoot/../Get-LeftProcess.ps1 sleep.py | Should -BeNullOrEmpty
    }
}
