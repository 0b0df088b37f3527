BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $folder = Copy-OfflineRun
}
AfterAll { Stop-TestHome }

Describe 'Import-WandbRun' {
    It 'changes nothing with -WhatIf' {
        Import-WandbRun $folder -WhatIf | Should -BeNullOrEmpty
        (Get-Fault { Get-WandbRun -Project demo }).Id | Should -Be ProjectNotFound
    }

    It 'takes an offline run into the server, once' {
        $run = Import-WandbRun -Path $folder -Entity local -Connection $Connection
        $run.Id | Should -Be 22stxuh9
        $null = Import-WandbRun $folder
        @(Get-WandbRun -Project demo).Count | Should -Be 1
    }

    It 'takes folders from the pipeline, and a project' {
        (Get-ChildItem ./wandb -Directory | Import-WandbRun -Project second).Project | Should -Be second
        ('./wandb/offline-run-20261124_070622-22stxuh9' | Import-WandbRun).Project | Should -Be demo
    }

    It 'says what is no run, and goes on' {
        $faults = Get-Fault { Import-WandbRun ./none, ./repo }
        $faults.Id | Should -Contain RunFolderNotFound
        $faults[-1].Target | Should -Not -BeNullOrEmpty
        (Import-WandbRun ./none, $folder -ErrorAction SilentlyContinue).Id | Should -Be 22stxuh9
        { Import-WandbRun ./none, $folder -ErrorAction Stop } | Should -Throw
    }
}

Describe 'Get-WandbRun' {
    It 'lists a project, by name, state, tag and time' {
        (Get-WandbRun demo).Id | Should -Be 22stxuh9
        (Get-WandbRun -Project demo -Entity local -State finished -Name 22* -Order '-created_at' -PageSize 1).Config['epochs'] | Should -Be 3
        Get-WandbRun demo -State failed | Should -BeNullOrEmpty
        Get-WandbRun demo -Tag none | Should -BeNullOrEmpty
        Get-WandbRun demo -CreatedBefore ([datetime]'2000-01-01') | Should -BeNullOrEmpty
        (Get-WandbRun demo -CreatedAfter ([datetime]'2000-01-01')).Id | Should -Be 22stxuh9
        (Get-WandbRun demo -Filter '{"state": "finished"}').Id | Should -Be 22stxuh9
    }

    It 'finds one by id and by URI, also from the pipeline' {
        $run = Get-WandbRun -Id 22stxuh9 -Project demo
        (Get-WandbRun -Uri $run.Uri).Id | Should -Be 22stxuh9
        ($run.Uri | Get-WandbRun).Id | Should -Be 22stxuh9
        ($run | Get-WandbRun).Id | Should -Be 22stxuh9
    }

    It 'says what is not there' {
        (Get-Fault { Get-WandbRun -Project none }).Category | Should -Be ObjectNotFound
        $fault = Get-Fault { Get-WandbRun -Id nosuchrun -Project demo }
        $fault.Id | Should -Be RunNotFound
        "$($fault.Target)" | Should -Match nosuchrun
        (Get-Fault { Get-WandbRun demo -Filter 'no json' }).Id | Should -Be FilterInvalid
    }

    It 'goes on, is silent or stops as -ErrorAction says' {
        $runs = Get-WandbRun -Id nosuchrun, 22stxuh9 -Project demo -ErrorAction SilentlyContinue -ErrorVariable fault
        $runs.Id | Should -Be 22stxuh9
        $fault.Count | Should -Be 1
        { Get-WandbRun -Id nosuchrun -Project demo -ErrorAction Stop } | Should -Throw '*nosuchrun*'
    }

    It 'is shown at any width' {
        Get-WandbRun demo | Get-View -Width 140 | Should -Match 'Id\s+Name\s+State\s+Created\s+Project\s+User\s+Config(.|\n)*22stxuh9.*lr=0.1 epochs=3 name=two words'
        Get-WandbRun demo | Get-View -Width 60 | Should -Match 'Id\s+Name\s+State'
        Get-WandbRun demo | Get-View -List | Should -Match 'Uri\s+:'
    }

    It 'completes states and projects' {
        Get-Completion 'Get-WandbRun -State fa' | Should -Be failed
        Get-Completion 'Get-WandbRun -Project de' | Should -Contain demo
    }

    It 'stops at the first that is wanted' {
        (Get-WandbRun demo | Select-Object -First 1).Id | Should -Be 22stxuh9
    }

    It 'goes on to the launch, the config, the job and the queue' {
        $run = Get-WandbRun demo
        ($run | New-WandbLaunchConfig -Argument @{ lr = 0.5 }).uri | Should -Be $run.Uri
        $launch = $run | Start-WandbLaunch -GitRepo ./repo -Argument @{ lr = 0.5 } -Resource local-process -NoInstall -Quiet
        $launch.ExitCode | Should -Be 0
        $launch.Arguments -join ' ' | Should -Match '--lr 0.5 --epochs 3'
        ($run | Where-Object State -EQ finished | Add-WandbLaunchQueueItem -Queue default).Uri | Should -Be $run.Uri
        ($run | New-WandbLaunchJob -GitVersion main -WhatIf) | Should -BeNullOrEmpty
    }
}

Describe 'Show-WandbRun' -Skip:$IsWindows {
    BeforeEach { Set-TestBrowser }
    AfterEach { $env:BROWSER = Join-Path $TestHome no-browser }

    It 'opens the page of a run by id, address and from the pipeline' {
        $page = (Get-WandbRun demo)[0].Uri
        Show-WandbRun 22stxuh9 -Project demo -Entity local | Should -BeNullOrEmpty
        Get-Opened | Should -Be $page
        Show-WandbRun local/demo/runs/22stxuh9, $page -Connection (Get-WandbConnection)
        Get-Opened | Should -Be $page, $page
        # The newest of the project.
        Show-WandbRun -Project demo
        Get-Opened | Should -Be (Get-WandbRun demo | Select-Object -First 1).Uri
        Get-WandbRun demo | Show-WandbRun
        Get-WandbRun demo | Get-WandbRunFile -Name diff.patch | Show-WandbRun
        Get-Opened | Should -Be $page, $page
    }

    It 'writes the address with -PassThru, and where there is no browser or it would not' {
        $page = (Get-WandbRun demo)[0].Uri
        Get-WandbRun demo | Show-WandbRun -PassThru | Should -Be $page
        Get-Opened | Should -Be $page
        $env:BROWSER = 'none'
        Get-WandbRun demo | Show-WandbRun | Should -Be $page
        Set-TestBrowser -ExitCode 1
        Get-WandbRun demo | Show-WandbRun | Should -Be $page
        $null = Get-Opened
    }

    It 'opens nothing with -WhatIf, and nothing but pages' {
        Get-WandbRun demo | Show-WandbRun -WhatIf | Should -BeNullOrEmpty
        Show-WandbRun 'https://user:secret@wandb.ai/me/demo/runs/22stxuh9' -ErrorAction SilentlyContinue
        (Get-Fault { Show-WandbRun file:///etc/passwd }).Id | Should -Be RunUriInvalid
        (Get-Fault { Show-WandbRun -Project nosuch }).Id | Should -Be ProjectNotFound
        (Get-Fault { Get-WandbConnection | Show-WandbRun }).Id | Should -Be InputNotSupported
        Get-Opened | Should -BeNullOrEmpty
    }

    It 'gives an address as one word, whatever is in it' {
        Show-WandbRun 'a b;$(id)&"c"' -Project 'pro ject' -Entity local
        Get-Opened | Should -Be "$((Get-WandbConnection).AppUrl)/local/pro%20ject/runs/a%20b%3B%24%28id%29%26%22c%22"
    }
}
