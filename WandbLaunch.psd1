@{
    RootModule           = 'WandbLaunch.PowerShell.dll'
    ModuleVersion        = '0.1.0'
    GUID                 = '6f0f4b7e-0b0f-4c51-9c9e-0c5a1f6d2a37'
    Author               = 'WandbLaunch contributors'
    CompanyName          = 'WandbLaunch'
    Copyright            = '(c) WandbLaunch contributors. MIT licence.'
    Description          = 'W&B Launch for PowerShell: reproduce runs on your own machines, as a process or in a container.'
    PowerShellVersion    = '7.4'
    CompatiblePSEditions = @('Core')
    FormatsToProcess     = @('WandbLaunch.format.ps1xml')
    CmdletsToExport      = @(
        'Clear-WandbLaunchCache'
        'Connect-Wandb'
        'Disconnect-Wandb'
        'Get-WandbConnection'
        'Get-WandbLaunch'
        'Get-WandbLaunchCache'
        'Get-WandbLaunchServer'
        'Get-WandbRun'
        'Get-WandbRunFile'
        'Import-WandbRun'
        'New-WandbLaunchConfig'
        'Receive-WandbLaunchLog'
        'Remove-WandbLaunch'
        'Start-WandbLaunch'
        'Start-WandbLaunchServer'
        'Stop-WandbLaunch'
        'Stop-WandbLaunchServer'
        'Wait-WandbLaunch'
    )
    FunctionsToExport    = @()
    AliasesToExport      = @()
    VariablesToExport    = @()
    PrivateData          = @{
        PSData = @{
            Tags       = @('wandb', 'weights-and-biases', 'launch', 'mlops', 'docker', 'PSEdition_Core', 'Windows', 'Linux', 'MacOS')
            LicenseUri = 'https://opensource.org/license/mit'
        }
    }
}
