BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $run = Import-WandbRun (Copy-OfflineRun)
    $key = Get-Content (Get-WandbLaunchServer | Where-Object Running | Select-Object -First 1).KeyPath
    function Send-Alert($Title, $Severity) {
        $query = 'mutation N($t: String!, $s: AlertSeverity) { notifyScriptableRunAlert(input: {entityName: "local", projectName: "demo", runName: "22stxuh9", title: $t, text: "below 0.5", severity: $s, waitDuration: 0}) { success } }'
        $body = @{ query = $query; variables = @{ t = $Title; s = $Severity } } | ConvertTo-Json
        $null = Invoke-RestMethod "$($Connection.BaseUrl)/graphql" -Method Post -Body $body -ContentType application/json -Headers @{ Authorization = "Bearer $key" }
    }
}
AfterAll { Stop-TestHome }

Describe 'Get-WandbRunAlert' {
    It 'has none of a run that sent none' {
        $run | Get-WandbRunAlert | Should -BeNullOrEmpty
    }

    It 'lists what a run sent, the oldest first' {
        Send-Alert Low WARN
        Send-Alert Broken ERROR
        $alerts = $run | Get-WandbRunAlert
        $alerts.Title | Should -Be Low, Broken
        $alerts[0].Text | Should -Be 'below 0.5'
        $alerts[0].RunId | Should -Be 22stxuh9
        $alerts[0].Created | Should -BeGreaterThan ([DateTimeOffset]::Now.AddMinutes(-5))
        ($run | Get-WandbRunAlert -Severity ERROR).Title | Should -Be Broken
        (Get-WandbRunAlert 22stxuh9 -Project demo -Entity local -Connection $Connection).Count | Should -Be 2
    }

    It 'says what is not there' {
        $fault = Get-Fault { Get-WandbRunAlert nosuchrun -Project demo }
        $fault.Id | Should -Be RunNotFound
        $fault.Category | Should -Be ObjectNotFound
    }

    It 'is shown' {
        $run | Get-WandbRunAlert | Get-View | Should -Match 'Created\s+Severity\s+RunId\s+Title\s+Text'
        $run | Get-WandbRunAlert -Severity WARN | Get-View -List | Should -Match 'Severity\s+: WARN'
    }
}

Describe 'Start-WandbLaunchServer -AlertWebhook' {
    It 'refuses what is no address, and does not repeat it' {
        $fault = Get-Fault { Start-WandbLaunchServer -Path ./other.db -AlertWebhook 'ftp://secret.example/x' }
        $fault.Id | Should -Be AlertWebhookInvalid
        $fault.Category | Should -Be InvalidArgument
        "$($fault | Out-String)" | Should -Not -Match secret
    }

    It 'keeps it for its owner, and ends it with $null' {
        $null = Start-WandbLaunchServer -Path ./other.db -AlertWebhook 'http://127.0.0.1:9/hook'
        './other.db.webhook' | Should -Exist
        if (-not $IsWindows) { (Get-Item ./other.db.webhook).UnixMode | Should -Be '-rw-------' }
        (Get-Fault { Start-WandbLaunchServer -Path ./other.db -AlertWebhook 'http://127.0.0.1:9/other' }).Id | Should -Be ServerRunning
        Stop-WandbLaunchServer ./other.db
        $null = Start-WandbLaunchServer -Path ./other.db
        './other.db.webhook' | Should -Exist
        Stop-WandbLaunchServer ./other.db
        $null = Start-WandbLaunchServer -Path ./other.db -AlertWebhook $null
        './other.db.webhook' | Should -Not -Exist
        Stop-WandbLaunchServer ./other.db
    }
}
