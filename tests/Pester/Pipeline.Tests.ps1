# Every pair of commands that could meet: which objects a command takes from the pipeline, and that it refuses all others.
BeforeDiscovery {
    Import-Module (& $PSScriptRoot/Get-TestModule.ps1)
    $takes = @{
        'Add-WandbLaunchQueueItem'      = 'LaunchConfig', 'LaunchedRun', 'WandbLaunchJob', 'WandbLaunchQueueItem', 'WandbRun'
        'Backup-WandbLaunchServer'      = 'LaunchServerInfo'
        'Connect-Wandb'                 = 'LaunchServerInfo', 'WandbConnection'
        'Get-WandbLaunch'               = 'AgentEvent', 'LaunchedRun', 'WandbLaunchQueueItem', 'WandbRun'
        'Get-WandbLaunchAgent'          = 'AgentEvent', 'WandbLaunchAgent'
        'Get-WandbLaunchJob'            = 'WandbConnection', 'WandbLaunchJob'
        'Get-WandbLaunchQueueItem'      = 'AgentEvent', 'WandbLaunchAgent', 'WandbLaunchQueueItem', 'WandbRunQueue'
        'Get-WandbLaunchServer'         = 'LaunchServerInfo'
        'Get-WandbLaunchServerAudit'    = 'LaunchServerInfo'
        'Get-WandbLaunchServerUser'     = 'LaunchServerInfo', 'LaunchServerUser'
        'Get-WandbRun'                  = 'AgentEvent', 'LaunchedRun', 'WandbConnection', 'WandbLaunchQueueItem', 'WandbRun', 'WandbRunFile'
        'Get-WandbRunAlert'             = 'AgentEvent', 'LaunchedRun', 'WandbLaunchQueueItem', 'WandbRun', 'WandbRunFile'
        'Get-WandbRunFile'              = 'AgentEvent', 'LaunchedRun', 'WandbLaunchQueueItem', 'WandbRun', 'WandbRunFile'
        'Get-WandbRunQueue'             = 'AgentEvent', 'WandbLaunchAgent', 'WandbLaunchQueueItem', 'WandbRunQueue'
        'Import-WandbRun'               = @()
        'New-WandbLaunchConfig'         = 'LaunchConfig', 'LaunchedRun', 'WandbLaunchJob', 'WandbLaunchQueueItem', 'WandbRun'
        'New-WandbLaunchJob'            = 'WandbRun'
        'New-WandbLaunchServerUser'     = 'LaunchServerInfo', 'LaunchServerUser'
        'New-WandbRunQueue'             = 'WandbRunQueue'
        'Receive-WandbLaunchAgentLog'   = 'AgentEvent', 'WandbLaunchAgent'
        'Receive-WandbLaunchLog'        = 'AgentEvent', 'LaunchedRun', 'WandbLaunchQueueItem', 'WandbRun'
        'Register-WandbLaunchAgent'     = 'WandbLaunchAgent', 'WandbRunQueue'
        'Remove-WandbLaunch'            = 'AgentEvent', 'LaunchedRun', 'WandbLaunchQueueItem', 'WandbRun'
        'Remove-WandbLaunchAgent'       = 'WandbLaunchAgent'
        'Remove-WandbLaunchQueueItem'   = 'AgentEvent', 'WandbLaunchQueueItem'
        'Remove-WandbLaunchServerUser'  = 'LaunchServerInfo', 'LaunchServerUser'
        'Remove-WandbRunQueue'          = 'WandbRunQueue'
        'Resume-WandbRunQueue'          = 'WandbRunQueue'
        'Restore-WandbLaunchServer'     = 'LaunchServerBackup'
        'Set-WandbLaunchServerUser'     = 'LaunchServerInfo', 'LaunchServerUser'
        'Set-WandbRunQueue'             = 'WandbRunQueue'
        'Start-WandbLaunch'             = 'LaunchConfig', 'LaunchedRun', 'WandbLaunchJob', 'WandbLaunchQueueItem', 'WandbRun'
        'Start-WandbLaunchAgent'        = 'WandbLaunchAgent', 'WandbRunQueue'
        'Start-WandbLaunchServer'       = 'LaunchServerInfo'
        'Stop-WandbLaunch'              = 'AgentEvent', 'LaunchedRun', 'WandbLaunchQueueItem', 'WandbRun'
        'Stop-WandbLaunchAgent'         = 'AgentEvent', 'WandbLaunchAgent'
        'Stop-WandbLaunchServer'        = 'LaunchServerInfo'
        'Suspend-WandbRunQueue'         = 'WandbRunQueue'
        'Unregister-WandbLaunchAgent'   = 'AgentServiceDefinition', 'WandbLaunchAgent'
        'Wait-WandbLaunch'              = 'AgentEvent', 'LaunchedRun', 'WandbLaunchQueueItem', 'WandbRun'
        'Wait-WandbLaunchQueueItem'     = 'AgentEvent', 'WandbLaunchQueueItem'
    }
    $kinds = 'AgentEvent', 'AgentServiceDefinition', 'CacheEntry', 'LaunchConfig', 'LaunchServerBackup', 'LaunchServerInfo', 'LaunchServerUser', 'LaunchedRun', 'WandbConnection', 'WandbLaunchAgent', 'WandbLaunchJob', 'WandbLaunchQueueItem', 'WandbRun', 'WandbRunFile', 'WandbRunQueue'
    # Those with a pipeline that are not in the table above: their own files say what they take.
    $others = 'Show-WandbLaunch', 'Show-WandbRun', 'Show-WandbRunHistory', 'Watch-WandbRunQueue'
    $piped = Get-Command -Module WandbLaunch -CommandType Cmdlet | Where-Object { $_.ParameterSets.Parameters | Where-Object { $_.ValueFromPipeline -or $_.ValueFromPipelineByPropertyName } }
    $cases = foreach ($command in $takes.Keys | Sort-Object) { @{ Command = $command; Refused = @($kinds | Where-Object { $_ -notin $takes[$command] }) } }
}

BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    # One that has every property that anything binds: what is refused is refused by its kind.
    function New-Any {
        param([string] $Kind, [string] $Prefix)
        [pscustomobject]@{
            PSTypeName = "${Prefix}WandbLaunch.Any.$Kind"; Id = 'any-1'; Name = 'any-1'; Queue = 'any-1'; Queues = 'any-1'; Entity = 'local'; QueueProject = 'model-registry'; Project = 'any'
            Uri = 'https://example.org/any/any/runs/any1'; Url = 'http://127.0.0.1:1'; RunId = 'any1'; Path = (Join-Path $TestHome any.db); BackupPath = (Join-Path $TestHome any); BaseUrl = 'http://127.0.0.1:1'; Agent = 'any-1'; ItemId = 'any-1'; Job = 'a/b/c:v0'
        }
    }
}
AfterAll { Stop-TestHome }

Describe 'what is piped into <Command>' -ForEach $cases {
    It 'is refused unless the command knows it, live, selected or from a file' {
        foreach ($kind in $Refused) {
            $any = New-Any $kind
            foreach ($form in $any, (New-Any $kind 'Selected.'), [Management.Automation.PSSerializer]::Deserialize([Management.Automation.PSSerializer]::Serialize($any))) {
                $more = if ((Get-Command $Command).Parameters.ContainsKey('WhatIf')) { @{ WhatIf = $true } } else { @{} }
                if ($Command -eq 'Backup-WandbLaunchServer') { $more.Destination = 'any' }
                $fault = Get-Fault { $form | & $Command @more }
                # What stands for the object has a text that is too long for the name of a queue.
                if ($Command -eq 'New-WandbRunQueue' -and $fault.Id -eq 'ParameterArgumentValidationError') { continue }
                "$kind $($fault.Id) $($fault.Category)" | Should -Be "$kind InputNotSupported InvalidArgument"
                $fault.Message | Should -Match $kind
            }
        }
    }
}

Describe 'the table above' {
    It 'names every command that takes anything from the pipeline' -TestCases @{ Piped = $piped.Name; Known = @($takes.Keys) + $others } {
        $Piped | Where-Object { $_ -notin $Known } | Should -BeNullOrEmpty
    }
}
