BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $path = Join-Path $PWD runs.db
}
AfterAll { Stop-TestHome }

Describe 'the local server' {
    It 'starts once for a database, on the port and address that are given' {
        Start-WandbLaunchServer -Path $path -WhatIf | Should -BeNullOrEmpty
        $path | Should -Not -Exist
        $listener = [Net.Sockets.TcpListener]::new([Net.IPAddress]::Loopback, 0)
        $listener.Start()
        $port = $listener.LocalEndpoint.Port
        $listener.Stop()
        $server = Start-WandbLaunchServer -Path $path -Port $port -ListenAddress 127.0.0.1
        $server.Running | Should -BeTrue
        $server.Url | Should -Be "http://127.0.0.1:$port"
        # It is there, and shows nothing to whoever has no key.
        (Invoke-WebRequest $server.Url -SkipHttpErrorCheck).StatusCode | Should -Be 401
        (Start-WandbLaunchServer -Path $path).ProcessId | Should -Be $server.ProcessId
        (Get-Process -Id $server.ProcessId).HasExited | Should -BeFalse
    }

    It 'is found, shown and used' {
        (Get-WandbLaunchServer $path).Running | Should -BeTrue
        (Get-WandbLaunchServer -Path $path | Get-WandbLaunchServer).Url | Should -Be (Get-WandbLaunchServer $path).Url
        Get-WandbLaunchServer $path | Get-View | Should -Match 'Url\s+Running\s+ProcessId\s+Path'
        Get-WandbLaunchServer $path | Get-View -List | Should -Match 'Url\s+: http'
        (Connect-Wandb -Local -Path $path).BaseUrl | Should -Be (Get-WandbLaunchServer $path).Url
    }

    It 'goes on with -WhatIf and after a no, and ends when it is stopped' {
        $id = (Get-WandbLaunchServer $path).ProcessId
        Get-WandbLaunchServer $path | Stop-WandbLaunchServer -WhatIf
        Invoke-Pwsh "Stop-WandbLaunchServer '$path' -Confirm" -Answer n | Out-Null
        (Get-WandbLaunchServer $path).Running | Should -BeTrue
        $stopped = Get-WandbLaunchServer $path | Stop-WandbLaunchServer -PassThru
        $stopped.Running, $stopped.Path | Should -Be $false, $path
        (Get-WandbLaunchServer $path).Running | Should -BeFalse
        Get-Process -Id $id -ErrorAction Ignore | Should -BeNullOrEmpty
    }

    It 'says what cannot be' {
        $fault = Get-Fault { Stop-WandbLaunchServer -Path $path }
        $fault.Id | Should -Be ServerNotRunning
        (Get-Fault { Start-WandbLaunchServer -Path $path -ListenAddress nowhere }).Id | Should -Be ListenAddressInvalid
        { Start-WandbLaunchServer -Port 70000 } | Should -Throw
    }

    It 'is not reachable for others without a certificate, unless that is said' {
        $other = Join-Path $PWD open.db
        $fault = Get-Fault { Start-WandbLaunchServer $other -ListenAddress 0.0.0.0 }
        $fault.Id, $fault.Category | Should -Be TlsMissing, SecurityError
        $other | Should -Not -Exist
        $server = Start-WandbLaunchServer $other -ListenAddress 0.0.0.0 -AllowInsecure -WarningVariable said -WarningAction SilentlyContinue
        "$said" | Should -Match 'unencrypted'
        $server.Url | Should -Match '^http://127'
        Stop-WandbLaunchServer $other
        # It was said once, and holds for the next start; it can be taken back.
        (Start-WandbLaunchServer $other).AllowInsecure | Should -BeTrue
        Stop-WandbLaunchServer $other
        (Get-Fault { Start-WandbLaunchServer $other -AllowInsecure:$false }).Id | Should -Be TlsMissing
        (Start-WandbLaunchServer $other -AllowInsecure:$false -ListenAddress 127.0.0.1).AllowInsecure | Should -BeFalse
        Stop-WandbLaunchServer $other
    }

    It 'has TLS for others and none for this machine' {
        $other = Join-Path $PWD tls.db
        $password = New-TestCertificate lab.pfx -Password (New-Guid)
        $null = New-TestCertificate lab.pem
        (Get-Fault { Start-WandbLaunchServer $other -CertificatePath lab.pfx }).Id | Should -Be CertificateInvalid
        (Get-Fault { Start-WandbLaunchServer $other -CertificatePath gone.pem }).Id | Should -Be CertificateNotFound
        $server = Start-WandbLaunchServer $other -CertificatePath lab.pfx -CertificatePassword ($password | ConvertTo-SecureString -AsPlainText -Force) -ListenAddress 0.0.0.0
        $server.SecureUrl | Should -Match '^https://'
        $server.Url | Should -Match '^http://127'
        "$($server | Format-List * | Out-String)$(Get-Content "$other.server.json")" | Should -Not -Match $password
        $key = (Get-Content $server.KeyPath).Trim()
        $answer = Invoke-RestMethod "https://localhost:$($server.Port)/page/me" -SkipCertificateCheck -Headers @{ Authorization = "Bearer $key" }
        $answer.role | Should -Be Admin
        (Connect-Wandb -Local -Path $other).BaseUrl | Should -Be $server.Url
        (Get-Fault { Start-WandbLaunchServer $other -CertificatePath lab.pem }).Id | Should -Be ServerRunning
        (Start-WandbLaunchServer $other).ProcessId | Should -Be $server.ProcessId
        Stop-WandbLaunchServer $other
        $again = Start-WandbLaunchServer $other
        $again.SecureUrl, $again.Url | Should -Be $server.SecureUrl, $server.Url
        Stop-WandbLaunchServer $other
        (Start-WandbLaunchServer $other -CertificatePath '' -ListenAddress 127.0.0.1).SecureUrl | Should -BeNullOrEmpty
        Stop-WandbLaunchServer $other
    }

    It 'takes the word of the proxies that are named' {
        $other = Join-Path $PWD proxy.db
        (Get-Fault { Start-WandbLaunchServer $other -TrustedProxy nowhere }).Id | Should -Be TrustedProxyInvalid
        (Get-Fault { Start-WandbLaunchServer $other -PublicUrl nowhere }).Id | Should -Be PublicUrlInvalid
        $server = Start-WandbLaunchServer $other -TrustedProxy 127.0.0.1, 10.0.0.0/8 -PublicUrl https://lab.example.org
        $server.TrustedProxies | Should -Be 127.0.0.1, 10.0.0.0/8
        $key = (Get-Content $server.KeyPath).Trim()
        $null = Invoke-RestMethod "$($server.Url)/session" -Method Post -ContentType application/json -Body (@{ key = $key } | ConvertTo-Json) -Headers @{ 'X-Forwarded-For' = '192.0.2.7'; Host = 'lab.example.org' }
        (Get-WandbLaunchServerAudit -Path $other -Action SignedIn).Address | Should -Be 192.0.2.7
        Stop-WandbLaunchServer $other
    }

    It 'works from a NonInteractive pwsh and outlives it' {
        Invoke-Pwsh "(Start-WandbLaunchServer '$path').Url" | Should -Match '^http://127'
        (Get-WandbLaunchServer $path).Running | Should -BeTrue
        Stop-WandbLaunchServer $path
    }
}

Describe 'backups of the server' {
    BeforeAll {
        $server = Start-WandbLaunchServer (Join-Path $PWD lab.db)
        $null = Connect-Wandb -Local -Path $server.Path
        $null = Import-WandbRun (Copy-OfflineRun) -Entity local
        $runs = Get-WandbRun -Project demo
    }

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
        Restore-WandbLaunchServer copy -Path restored/new.db -WhatIf
        'restored' | Should -Not -Exist
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
