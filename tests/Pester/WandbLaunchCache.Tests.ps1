BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Install
    $null = Start-WandbLaunch (New-TestRepository) -Resource local-process -Quiet
}
AfterAll { Stop-TestHome }

Describe 'Get-WandbLaunchCache' {
    It 'shows what is kept, by kind' {
        $all = Get-WandbLaunchCache
        $all.Kind | Should -Contain git
        $all[0].Path | Should -Exist
        (Get-WandbLaunchCache -Kind git).Kind | Sort-Object -Unique | Should -Be git
        Get-WandbLaunchCache git, venvs | Get-View | Should -Match 'Kind\s+Name\s+Size\s+LastUsed'
        Get-WandbLaunchCache | Get-View -List | Should -Match 'Path\s+:'
        Get-Completion 'Get-WandbLaunchCache -Kind gi' | Should -Be git
        { Get-WandbLaunchCache -Kind nothing } | Should -Throw
    }
}

Describe 'Clear-WandbLaunchCache' {
    It 'keeps what is younger than -OlderThan, and everything with -WhatIf and after a no' {
        $before = @(Get-WandbLaunchCache).Count
        Clear-WandbLaunchCache -OlderThan 7 -Confirm:$false
        Clear-WandbLaunchCache -WhatIf
        Invoke-Pwsh Clear-WandbLaunchCache -Answer l | Out-Null
        @(Get-WandbLaunchCache).Count | Should -Be $before
    }

    It 'removes a kind, then all, and the next launch makes it again' {
        Clear-WandbLaunchCache -Kind git -Confirm:$false
        Get-WandbLaunchCache -Kind git | Should -BeNullOrEmpty
        (Clear-WandbLaunchCache -Confirm:$false -PassThru).Kind | Should -Contain workspaces
        Get-WandbLaunchCache | Should -BeNullOrEmpty
        (Start-WandbLaunch ([uri]::new((Join-Path $PWD repo)).AbsoluteUri) -Resource local-process -Quiet).ExitCode | Should -Be 0
    }
}
