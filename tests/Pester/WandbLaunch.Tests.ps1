BeforeAll {
    $env:WANDBLAUNCH_HOME = Join-Path $TestDrive 'home'
    Import-Module (Join-Path $PSScriptRoot '../../out/WandbLaunch/WandbLaunch.psd1') -Force
    $folder = New-Item -ItemType Directory (Join-Path $TestDrive 'train')
    Set-Content (Join-Path $folder 'requirements.txt') ''
    Set-Content (Join-Path $folder 'main.py') 'import sys; print(sys.argv[1:])'
    Set-Content (Join-Path $folder 'fail.py') 'raise SystemExit(3)'
}

AfterAll {
    Get-WandbLaunchServer | Where-Object Running | Stop-WandbLaunchServer
    Remove-Item Env:WANDBLAUNCH_HOME
}

Describe 'what a user types' {
    It 'makes a config that ConvertTo-Json turns into a valid file' {
        $path = Join-Path $TestDrive 'launch.json'
        New-WandbLaunchConfig $folder -Argument @{ lr = 0.1 } -Resource local-process | ConvertTo-Json -Depth 9 | Set-Content $path
        (Start-WandbLaunch -Config $path -Quiet | Receive-WandbLaunchLog) | Should -Be "['--lr', '0.1']"
    }

    It 'takes a csv of arguments' {
        $csv = "lr,epochs`n0.1,1`n0.2,2" | ConvertFrom-Csv
        $runs = $csv | ForEach-Object { New-WandbLaunchConfig $folder -Argument @{ lr = $_.lr; epochs = $_.epochs } } | Start-WandbLaunch -Resource local-process -Quiet
        $runs.ExitCode | Should -Be 0, 0
        ($runs | Receive-WandbLaunchLog) | Should -Be "['--epochs', '1', '--lr', '0.1']", "['--epochs', '2', '--lr', '0.2']"
    }

    It 'makes $? false when the run fails' {
        $run = Start-WandbLaunch $folder -EntryPoint 'python fail.py' -Resource local-process -Quiet -ErrorAction SilentlyContinue -ErrorVariable problem
        $? | Should -BeFalse
        $run.ExitCode | Should -Be 3
        $problem[0].FullyQualifiedErrorId | Should -BeLike 'RunFailed,*'
    }

    It 'completes resources, states and launch ids' {
        (TabExpansion2 'Start-WandbLaunch x -Resource lo').CompletionMatches.CompletionText | Should -Be 'local-container', 'local-process'
        (TabExpansion2 'Get-WandbRun -State fa').CompletionMatches.CompletionText | Should -Be 'failed'
        $id = (Get-WandbLaunch)[0].Id
        (TabExpansion2 "Stop-WandbLaunch $($id.Substring(0, 4))").CompletionMatches.CompletionText | Should -Contain $id
    }

    It 'stops early with Select-Object -First' {
        (Get-WandbLaunch | Select-Object -First 1).Id | Should -Not -BeNullOrEmpty
    }

    It 'shows tables and lists' {
        Get-WandbLaunch | Format-Table | Out-String | Should -Match 'Id\s+State\s+Exit'
        Get-WandbLaunch | Format-List | Out-String | Should -Match 'LogPath\s+:'
    }

    It 'queues runs and lets an agent drain them' {
        $null = Connect-Wandb -Local
        $repo = Join-Path $TestDrive 'repo'
        git init --quiet $repo
        Set-Content (Join-Path $repo 'main.py') 'import sys; print(sys.argv[1:]); sys.exit(int(sys.argv[2]))'
        Set-Content (Join-Path $repo 'requirements.txt') ''
        git -C $repo add .
        git -C $repo -c user.name=t -c user.email=t@example.org commit --quiet -m one
        $null = New-WandbRunQueue work
        $csv = "code`n0`n3`n0" | ConvertFrom-Csv
        $items = $csv | Add-WandbLaunchQueueItem -Uri ([System.Uri]::new($repo).AbsoluteUri) -Queue work -Resource local-process
        $items.Count | Should -Be 3
        $events = Start-WandbLaunchAgent -Queue work -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -OnRunFinished { "ended $($_.ExitCode)" }
        $LASTEXITCODE | Should -Be 2
        ($events | Where-Object { $_ -is [string] }) | Should -Be 'ended 0', 'ended 3', 'ended 0'
        ($items | Wait-WandbLaunchQueueItem -ErrorAction SilentlyContinue).State | Should -Be 'finished', 'failed', 'finished'
        Get-WandbLaunchQueueItem work | Format-Table | Out-String | Should -Match 'Id\s+Queue\s+State'
        $events | Where-Object { $_ -isnot [string] } | Format-Table | Out-String -Width 120 | Should -Match 'Time\s+Event\s+Item'
        (Get-WandbLaunchAgent -State stopped | Select-Object -First 1).Taken | Should -Be 3
        (TabExpansion2 'Start-WandbLaunchAgent -Queue w').CompletionMatches.CompletionText | Should -Be 'work'
    }

    It 'connects to the local server' {
        (Connect-Wandb -Local).Entity | Should -Be 'local'
        { Get-WandbRun -Project none -ErrorAction Stop } | Should -Throw '*no project*'
    }
}
