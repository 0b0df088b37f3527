@{
    RootModule           = 'WandbLaunch.PowerShell.dll'
    ModuleVersion        = '0.1.0'
    GUID                 = '6f0f4b7e-0b0f-4c51-9c9e-0c5a1f6d2a37'
    Author               = 'WandbLaunch contributors'
    CompanyName          = 'WandbLaunch'
    Copyright            = '(c) WandbLaunch contributors. MIT licence.'
    Description          = 'W&B Launch for PowerShell: reproduce runs on your own machines, queue them, and run agents that take them.'
    PowerShellVersion    = '7.4'
    CompatiblePSEditions = @('Core')
    CmdletsToExport      = @(
        'Add-WandbLaunchQueueItem'
        'Backup-WandbLaunchServer'
        'Clear-WandbLaunchCache'
        'Connect-Wandb'
        'Disconnect-Wandb'
        'Get-WandbConnection'
        'Get-WandbLaunch'
        'Get-WandbLaunchAgent'
        'Get-WandbLaunchCache'
        'Get-WandbLaunchJob'
        'Get-WandbLaunchQueueItem'
        'Get-WandbLaunchServer'
        'Get-WandbLaunchServerAudit'
        'Get-WandbLaunchServerUser'
        'Get-WandbRun'
        'Get-WandbRunAlert'
        'Get-WandbRunFile'
        'Get-WandbRunQueue'
        'Import-WandbRun'
        'New-WandbLaunchConfig'
        'New-WandbLaunchJob'
        'New-WandbLaunchServerUser'
        'New-WandbRunQueue'
        'Receive-WandbLaunchAgentLog'
        'Receive-WandbLaunchLog'
        'Register-WandbLaunchAgent'
        'Remove-WandbLaunch'
        'Remove-WandbLaunchAgent'
        'Remove-WandbLaunchQueueItem'
        'Remove-WandbLaunchServerUser'
        'Remove-WandbRunQueue'
        'Restore-WandbLaunchServer'
        'Resume-WandbRunQueue'
        'Set-WandbLaunchServerUser'
        'Set-WandbRunQueue'
        'Show-WandbLaunch'
        'Show-WandbRun'
        'Show-WandbRunHistory'
        'Start-WandbLaunch'
        'Start-WandbLaunchAgent'
        'Start-WandbLaunchServer'
        'Stop-WandbLaunch'
        'Stop-WandbLaunchAgent'
        'Stop-WandbLaunchServer'
        'Suspend-WandbRunQueue'
        'Unregister-WandbLaunchAgent'
        'Wait-WandbLaunch'
        'Wait-WandbLaunchQueueItem'
        'Watch-WandbRunQueue'
    )
    FunctionsToExport    = @()
    AliasesToExport      = @('awq', 'gwl', 'gwq', 'gwr', 'swl')
    VariablesToExport    = @()
    PrivateData          = @{
        PSData = @{
            Tags         = @('wandb', 'weights-and-biases', 'launch', 'mlops', 'docker', 'PSEdition_Core', 'Windows', 'Linux', 'MacOS')
            LicenseUri   = 'https://opensource.org/license/mit'
            # The only place that knows it: Get-Help -Online opens a page below it (tools/WandbLaunch.Docs).
            ProjectUri   = 'https://github.com/wandblaunch/wandblaunch'
            ReleaseNotes = 'CHANGELOG.md in the folder of the module.'
        }
    }
}
