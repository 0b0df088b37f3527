BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $run = Import-WandbRun (Copy-OfflineRun)
}
AfterAll { Stop-TestHome }

Describe 'Get-WandbRunFile' {
    It 'lists the files of a run' {
        (Get-WandbRunFile 22stxuh9 -Project demo -Entity local -Connection $Connection).Name | Should -Contain diff.patch
        ($run | Get-WandbRunFile -Name *.patch).Name | Should -Be diff.patch
        (Get-WandbRun demo | Get-WandbRunFile -Name *.json).Name | Should -Contain wandb-metadata.json
    }

    It 'saves them, with their bytes' {
        $file = $run | Get-WandbRunFile -Name diff.patch -Destination ./patches
        $file.LocalPath | Should -Exist
        (Get-FileHash $file.LocalPath).Hash | Should -Be (Get-FileHash ./wandb/*/files/diff.patch).Hash
        $null = $run | Get-WandbRunFile -Destination ./all
        Get-ChildItem ./all -Recurse -Filter train.py | Should -Not -BeNullOrEmpty
    }

    It 'writes no file with -WhatIf' {
        $null = $run | Get-WandbRunFile -Name diff.patch -Destination ./nothing -WhatIf
        './nothing' | Should -Not -Exist
    }

    It 'says what is not there' {
        $fault = Get-Fault { Get-WandbRunFile nosuchrun -Project demo }
        $fault.Id | Should -Be RunNotFound
        $fault.Category | Should -Be ObjectNotFound
    }

    It 'is shown' {
        $run | Get-WandbRunFile | Get-View | Should -Match 'Name\s+Size\s+Updated'
        $run | Get-WandbRunFile -Name diff.patch | Get-View -List | Should -Match 'Name\s+: diff.patch'
    }
}
