BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
}
AfterAll { Stop-TestHome }

Describe 'Get-WandbConnection' {
    It 'says that there is none' {
        $fault = Get-Fault { Get-WandbConnection }
        if ($fault) { $fault.Id | Should -Be NotConnected } else { Get-WandbConnection | Should -BeNullOrEmpty }
    }

    It 'shows the connection of the session, and what others take from it' {
        $connection = Connect-Wandb -Local -Project demo
        Get-WandbConnection | Should -Be $connection
        (Get-WandbConnection -Test).Username | Should -Be local
        (New-WandbRunQueue one -Connection (Get-WandbConnection)).Name | Should -Be one
    }

    It 'has views without the key' {
        $view = Get-WandbConnection | Get-View
        $view | Should -Match 'BaseUrl\s+Username\s+Entity\s+Project\s+ApiKeySource'
        $view + (Get-WandbConnection | Get-View -List) + (Get-WandbConnection | Format-List * | Out-String) | Should -Not -Match 'local-[0-9a-f]{30}'
        Get-WandbConnection | Get-View -List | Should -Match 'BaseUrl\s+:'
    }

    It 'says with -Test that the server is away' {
        Stop-WandbLaunchServer
        (Get-Fault { Get-WandbConnection -Test }).Category | Should -BeIn ResourceUnavailable, ConnectionError
    }
}
