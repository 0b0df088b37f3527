BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $folder = New-TestFolder train "import sys, time`nfor i in range(5): print('line', i, flush=True)"
    Set-Content (Join-Path $folder slow.py) "import time`nfor i in range(3): print('slow', i, flush=True); time.sleep(0.3)"
    Set-Content (Join-Path $folder sleep.py) "import time`nprint('up', flush=True)`ntime.sleep(600)"
    $run = Start-WandbLaunch $folder -Resource local-process -Quiet
}
AfterAll { Stop-TestHome }

Describe 'Receive-WandbLaunchLog' {
    It 'writes the lines of a launch' {
        Receive-WandbLaunchLog $run.Id | Should -Be (0..4 | ForEach-Object { "line $_" })
        $run | Receive-WandbLaunchLog -Tail 2 | Should -Be 'line 3', 'line 4'
        Receive-WandbLaunchLog -Id $run.Id -Tail 1 | Should -Be 'line 4'
        { Receive-WandbLaunchLog $run.Id -Tail 0 } | Should -Throw
        $run.Id | Receive-WandbLaunchLog | Select-Object -First 1 | Should -Be 'line 0'
        Get-WandbLaunch | Receive-WandbLaunchLog -Tail 1 | Should -Be 'line 4'
    }

    It 'follows one that runs to its end' {
        Start-WandbLaunch $folder -EntryPoint 'python slow.py' -Resource local-process -NoWait | Receive-WandbLaunchLog -Follow | Should -Be (0..2 | ForEach-Object { "slow $_" })
    }

    It 'is stopped within a second and leaves the run alone' {
        $up = Start-WandbLaunch $folder -EntryPoint 'python sleep.py' -Resource local-process -NoWait
        (Measure-Stop "Receive-WandbLaunchLog $($up.Id) -Follow" { Select-String up $up.LogPath -Quiet -ErrorAction Ignore }).TotalSeconds | Should -BeLessThan 10
        (Get-WandbLaunch $up.Id).State | Should -Be Running
        (Receive-WandbLaunchLog $up.Id -Follow | Select-Object -First 1) | Should -Be up
        $up | Stop-WandbLaunch
    }

    It 'says what is not there and goes on' {
        $fault = Get-Fault { Receive-WandbLaunchLog nosuch }
        $fault.Id, $fault.Category, $fault.Target | Should -Be LaunchNotFound, ObjectNotFound, nosuch
        Receive-WandbLaunchLog nosuch, $run.Id -Tail 1 -ErrorAction SilentlyContinue | Should -Be 'line 4'
    }

    It 'completes ids' {
        Get-Completion "Receive-WandbLaunchLog $($run.Id.Substring(0, 3))" | Should -Contain $run.Id
    }
}
