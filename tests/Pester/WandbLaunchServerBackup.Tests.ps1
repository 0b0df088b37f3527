BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $server = Start-WandbLaunchServer (Join-Path $PWD lab.db)
    $null = Connect-Wandb -Local -Path $server.Path
    $null = Import-WandbRun (Copy-OfflineRun) -Entity local
    $runs = Get-WandbRun -Project demo
}
AfterAll { Stop-TestHome }

Describe 'backups of the server' {
    It 'are made while it runs, and renewed' {
        $server | Backup-WandbLaunchServer copy -WhatIf
        'copy' | Should -Not -Exist
        $made = $server | Backup-WandbLaunchServer copy
        $made.Files | Should -BeGreaterThan 0
        $made.Copied | Should -Be $made.Files
        $made.Size | Should -BeGreaterThan 0
        $made | Get-View | Should -Match 'Created\s+Files\s+Size\s+Copied\s+BackupPath'
        (Backup-WandbLaunchServer copy -Path $server.Path).Copied | Should -Be 0
        # The server's own key is not in it.
        $key = (Get-Content $server.KeyPath).Trim()
        Get-ChildItem copy -Recurse -File | Select-String $key -SimpleMatch | Should -BeNullOrEmpty
    }

    It 'are restored elsewhere, with all that was there' {
        (Restore-WandbLaunchServer copy -Path restored/new.db).Files | Should -BeGreaterThan 0
        $null = Connect-Wandb -Local -Path restored/new.db
        (Get-WandbRun -Project demo).Id | Should -Be $runs.Id
        Stop-WandbLaunchServer restored/new.db
    }

    It 'are written over nothing that is there' {
        (Get-Fault { Restore-WandbLaunchServer copy -Path $server.Path -Force }).Id | Should -Be DatabaseInUse
        Stop-WandbLaunchServer $server.Path
        (Get-Fault { Restore-WandbLaunchServer copy -Path $server.Path }).Id | Should -Be BackupOccupied
        Get-Item copy | ForEach-Object { Restore-WandbLaunchServer $_ -Path $server.Path -Force } | Should -Not -BeNullOrEmpty
        "$($server.Path).before-restore" | Should -Exist
        (Start-WandbLaunchServer $server.Path).Running | Should -BeTrue
        Stop-WandbLaunchServer $server.Path
    }

    It 'are refused with a reason' {
        $null = New-Item -ItemType Directory photos
        Set-Content photos/cat.jpg cat
        (Get-Fault { Backup-WandbLaunchServer photos -Path $server.Path }).Id | Should -Be BackupOccupied
        (Get-Fault { Restore-WandbLaunchServer photos -Path other.db }).Id | Should -Be BackupInvalid
        (Get-Fault { Backup-WandbLaunchServer x -Path gone.db }).Id | Should -Be DatabaseNotFound
        Set-Content copy/backup.json '{'
        (Get-Fault { Restore-WandbLaunchServer copy -Path other.db }).Id | Should -Be BackupInvalid
        'other.db' | Should -Not -Exist
    }
}
