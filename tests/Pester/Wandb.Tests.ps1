BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    $server = Start-WandbLaunchServer
    # The server's own key, as a user of another machine would be told it.
    $secret = (Get-Content "$($server.Path).key" -Raw).Trim()
}
AfterAll { Stop-TestHome }

Describe 'Connect-Wandb' {
    AfterEach { Disconnect-Wandb; Remove-Item $env:NETRC -ErrorAction Ignore }

    It 'knows its own server' {
        $connection = Connect-Wandb -Local
        $connection.Entity | Should -Be local
        $connection.BaseUrl | Should -Be $server.Url
        { Get-WandbRun -Project none -ErrorAction Stop } | Should -Throw '*no project*'
    }

    It 'takes a database, an entity and a project' {
        $path = Join-Path $PWD other.db
        $connection = Connect-Wandb -Local -Path $path -Entity local -Project demo -Force
        $connection.Project | Should -Be demo
        (Get-WandbLaunchServer $path).Running | Should -BeTrue
        Stop-WandbLaunchServer $path
    }

    It 'makes no database that was not asked for' {
        $path = Join-Path $PWD mistyped/x.db
        # Nobody to ask: nothing is made, not even the folder.
        $fault = Invoke-Pwsh "try { Connect-Wandb -Local -Path '$path' -ErrorAction Stop } catch { `$_.FullyQualifiedErrorId; `$_.TargetObject }"
        $fault | Should -Be 'DatabaseNotFound,WandbLaunch.PowerShell.ConnectWandbCommand', $path
        Invoke-Pwsh "Connect-Wandb -Local -Path '$path'" -Answer n | Out-String | Should -Match 'no database at'
        Split-Path $path | Should -Not -Exist
        Invoke-Pwsh "(Connect-Wandb -Local -Path '$path').Username" -Answer y | Select-Object -Last 1 | Should -Be local
        # One that is there needs no question, and stays the session's server.
        Invoke-Pwsh "(Connect-Wandb -Local -Path '$path').Username" | Should -Be local
        Stop-WandbLaunchServer $path
    }

    It 'takes a key as a secure string' {
        $secret | Should -Not -BeNullOrEmpty
        (Connect-Wandb $server.Url -ApiKey (ConvertTo-SecureString $secret -AsPlainText)).Entity | Should -Be local
        (Get-WandbConnection -Test).Username | Should -Be local
    }

    It 'takes a credential, and the pipeline''s server' {
        $credential = [pscredential]::new('user', (ConvertTo-SecureString $secret -AsPlainText))
        (Connect-Wandb $server.Url -Credential $credential).Username | Should -Be local
        ([pscustomobject]@{ BaseUrl = $server.Url } | Connect-Wandb -ApiKey $credential.Password).BaseUrl | Should -Be $server.Url
    }

    It 'saves the key to netrc, from where the next shell takes it, and never shows it' {
        $null = Connect-Wandb $server.Url -ApiKey (ConvertTo-SecureString $secret -AsPlainText) -Save -WhatIf
        $env:NETRC | Should -Not -Exist
        $shown = Connect-Wandb $server.Url -ApiKey (ConvertTo-SecureString $secret -AsPlainText) -Save
        Get-Content $env:NETRC -Raw | Should -Match $secret
        $shown | Format-List * | Out-String | Should -Not -Match $secret
        Invoke-Pwsh "(Connect-Wandb $($server.Url)).Username" | Should -Be local
    }

    It 'says what is wrong' {
        $fault = Get-Fault { Connect-Wandb $server.Url -ApiKey (ConvertTo-SecureString ('a' * 40) -AsPlainText) }
        $fault.Id | Should -Be ApiKeyRejected
        $fault.Category | Should -Be AuthenticationError
        $fault.Message | Should -Not -Match 'aaaaaaaa'
        (Get-Fault { Connect-Wandb 'not a url' }).Id | Should -Be BaseUrlInvalid
        (Get-Fault { Connect-Wandb $server.Url -SecretName wandb -Vault none }).Id | Should -Be SecretManagementMissing
    }

    It 'asks for a key at a prompt, and says that there is none without one' {
        (Invoke-Pwsh "try { Connect-Wandb $($server.Url) -ErrorAction Stop } catch { `$_.FullyQualifiedErrorId }") -join "`n" | Should -Match 'ApiKeyMissing,'
    }

    It 'ends at once when it is stopped' {
        # A server that takes the connection and says nothing.
        $listener = [Net.Sockets.TcpListener]::new([Net.IPAddress]::Loopback, 0)
        $listener.Start()
        try {
            $url = "http://127.0.0.1:$($listener.LocalEndpoint.Port)"
            (Measure-Stop "Connect-Wandb $url -ApiKey (ConvertTo-SecureString $('a' * 40) -AsPlainText)" { $listener.Pending() }).TotalSeconds | Should -BeLessThan 10
        } finally { $listener.Stop() }
    }
}

Describe 'Disconnect-Wandb' {
    It 'forgets the connection: without a key anywhere the next command has none' {
        $null = Connect-Wandb -Local
        (Disconnect-Wandb -PassThru).BaseUrl | Should -Be (Get-WandbLaunchServer).Url
        $fault = Get-Fault { Get-WandbRunQueue }
        $fault.Id, $fault.Category | Should -Be ApiKeyMissing, AuthenticationError
    }

    It 'takes the key out of netrc with -Forget, but not with -WhatIf' {
        $null = Connect-Wandb $server.Url -ApiKey (ConvertTo-SecureString $secret -AsPlainText) -Save
        Disconnect-Wandb -Forget -WhatIf
        Get-Content $env:NETRC -Raw | Should -Match $secret
        Disconnect-Wandb -Forget -Confirm:$false
        Get-Content $env:NETRC -Raw -ErrorAction Ignore | Should -Not -Match $secret
    }
}
