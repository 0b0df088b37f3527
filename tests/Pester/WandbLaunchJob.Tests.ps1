BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $folder = New-TestFolder train
    $run = Import-WandbRun (Copy-OfflineRun)
    $null = New-WandbRunQueue work
}
AfterAll { Stop-TestHome }

Describe 'New-WandbLaunchJob' {
    It 'makes nothing with -WhatIf' {
        New-WandbLaunchJob $folder -EntryPoint 'python main.py' -Project demo -WhatIf | Should -BeNullOrEmpty
        Get-WandbLaunchJob -Project demo | Should -BeNullOrEmpty
    }

    It 'makes a job of a folder, and a new version of what changed' {
        $job = New-WandbLaunchJob -Uri $folder -Name train -Project demo -Entity local -EntryPoint 'python main.py' -Description first -Alias stable -Connection $Connection
        $job.Name | Should -Match train
        $job.Version | Should -Be v0
        Add-Content (Join-Path $folder main.py) "`nprint('more')"
        ($folder | New-WandbLaunchJob -Name train -Project demo -EntryPoint 'python main.py').Version | Should -Be v1
    }

    It 'makes jobs of an image and of a run' {
        (New-WandbLaunchJob -DockerImage example.org/image:1 -Name box -Project demo).SourceType | Should -Be image
        Get-WandbRun demo | New-WandbLaunchJob -WhatIf | Should -BeNullOrEmpty
    }

    It 'says what cannot be' {
        (Get-Fault { New-WandbLaunchJob ./none -Project demo }).Category | Should -BeIn ObjectNotFound, InvalidArgument
        (Get-Fault { New-WandbLaunchJob -Project demo }).Id | Should -Be SourceMissing
        (Get-Fault { Start-WandbLaunch -Job 'no job' -Resource local-process }).Id | Should -Be JobNameInvalid
    }
}

Describe 'Get-WandbLaunchJob' {
    It 'finds jobs, by wildcard, with all their versions' {
        $job = Get-WandbLaunchJob *train* -Project demo
        $job.Version | Should -Be v1
        @(Get-WandbLaunchJob *train* -Project demo -AllVersions -Entity local -Connection $Connection).Count | Should -Be 2
        ('*box*' | Get-WandbLaunchJob -Project demo).SourceType | Should -Be image
        Get-WandbLaunchJob nothing* -Project demo | Should -BeNullOrEmpty
        (Get-Fault { Get-WandbLaunchJob nosuch -Project demo }).Id | Should -Be JobNotFound
    }

    It 'is shown at any width, and completes' {
        Get-WandbLaunchJob -Project demo | Get-View -Width 140 | Should -Match 'Name\s+Version\s+Alias\s+Kind\s+Commit\s+EntryPoint\s+Source'
        Get-WandbLaunchJob -Project demo | Get-View -Width 50 | Should -Match 'Name\s+Version'
        Get-WandbLaunchJob *box* -Project demo | Get-View -List | Should -Match 'Name\s+:'
        Get-Completion 'Get-WandbLaunchJob -Project de' | Should -Contain demo
    }

    It 'is launched and queued' {
        $job = Get-WandbLaunchJob *train* -Project demo
        $launch = $job | Start-WandbLaunch -Resource local-process -Quiet -Argument a
        $launch | Receive-WandbLaunchLog | Should -Be "['a']", more
        ($job | Add-WandbLaunchQueueItem -Queue work).Queue | Should -Be work
    }

    It 'is left within a second when it is stopped' {
        $clock = Measure-Stop "`$null = Connect-Wandb -Local; while (`$true) { Get-WandbLaunchJob -Project demo }"
        $clock.TotalSeconds | Should -BeLessThan 10
    }
}
