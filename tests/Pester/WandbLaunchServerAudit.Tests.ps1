BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $null = New-WandbRunQueue gpu
    $uri = New-TestRepository code
    $item = Add-WandbLaunchQueueItem $uri -Queue gpu
    $null = New-WandbLaunchServerUser ada -Role ReadOnly -Team local
}
AfterAll { Stop-TestHome }

Describe 'the log of the server' {
    It 'says who did what, the oldest first' {
        $all = Get-WandbLaunchServerAudit
        $all.Action | Select-Object -Unique | Should -Contain Created
        $all | Should -Be ($all | Sort-Object Id)
        $queued = Get-WandbLaunchServerAudit -Action Queued
        $queued.User | Should -Be local
        $queued.Subject | Should -Match 'queue gpu'
        $queued.Entity | Should -Be local
        $queued.Address | Should -Be '127.0.0.1'
        $queued.Client | Should -Not -BeNullOrEmpty
        $queued | Get-View | Should -Match 'Time\s+User\s+Action\s+Subject'
        $queued | Get-View -List | Should -Match 'Operation'
    }

    It 'is filtered by time, user and action' {
        $null = Get-WandbLaunchQueueItem gpu | Remove-WandbLaunchQueueItem -Confirm:$false
        (Get-WandbLaunchServerAudit -Since (Get-Date).AddMinutes(-30) -Action Deleted).Subject | Should -Match "$($item.Id)"
        Get-WandbLaunchServerAudit -Since (Get-Date).AddMinutes(30) | Should -BeNullOrEmpty
        Get-WandbLaunchServerAudit -User nobody | Should -BeNullOrEmpty
        (Get-WandbLaunchServerAudit -User lo*, ada | Measure-Object).Count | Should -Be (Get-WandbLaunchServerAudit).Count
        (Get-WandbLaunchServerAudit | Select-Object -First 1).Id | Should -Be 1
        Get-WandbLaunchServer | Get-WandbLaunchServerAudit -Action Queued | Should -HaveCount 1
        Get-Completion 'Get-WandbLaunchServerAudit -User ' | Should -Contain ada
    }

    It 'says who was refused' {
        $key = (Set-WandbLaunchServerUser ada -NewKey).Key
        $null = Connect-Wandb -BaseUrl (Get-WandbLaunchServer).Url -ApiKey $key
        (Get-Fault { New-WandbRunQueue mine -Entity local }).Id | Should -Be AccessDenied
        $refused = Get-WandbLaunchServerAudit -User ada -Action Refused
        $refused.Operation | Should -Contain upsertModel
        $refused.Subject | Should -Contain 'name model-registry'
    }

    It 'needs a server that runs' {
        (Get-Fault { Get-WandbLaunchServerAudit -Path nowhere.db }).Id | Should -Be ServerNotRunning
        { Get-WandbLaunchServerAudit -Action Eaten } | Should -Throw
    }
}
