@{
    ModuleVersion        = '0.1.0'
    GUID                 = '0d0a4a0e-8c52-4b7b-8a53-6a5a4f0f9c11'
    Author               = 'WandbLaunch contributors'
    CompanyName          = 'WandbLaunch'
    Copyright            = '(c) WandbLaunch contributors. MIT licence.'
    Description          = 'How WandbLaunch shows its objects. Its first command in a session loads this: import WandbLaunch instead.'
    PowerShellVersion    = '7.4'
    CompatiblePSEditions = @('Core')
    FormatsToProcess     = @('WandbLaunch.format.ps1xml')
    CmdletsToExport      = @()
    FunctionsToExport    = @()
    AliasesToExport      = @()
    VariablesToExport    = @()
}
