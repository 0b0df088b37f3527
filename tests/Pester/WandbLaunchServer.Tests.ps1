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

    It 'works from a NonInteractive pwsh and outlives it' {
        Invoke-Pwsh "(Start-WandbLaunchServer '$path').Url" | Should -Match '^http://127'
        (Get-WandbLaunchServer $path).Running | Should -BeTrue
        Stop-WandbLaunchServer $path
    }
}
