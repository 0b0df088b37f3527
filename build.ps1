#Requires -Version 7.4
# Thin, over dotnet: Build, Test, Docs, Package.
[CmdletBinding()]
param(
    [ValidateSet('Build', 'Test', 'Docs', 'Package')] [string[]] $Task = 'Build',
    [ValidateSet('Debug', 'Release')] [string] $Configuration = 'Release'
)
$ErrorActionPreference = 'Stop'
Set-Location $PSScriptRoot

function Invoke-Dotnet {
    & dotnet @args
    if ($LASTEXITCODE) { throw "dotnet $args ended with exit code $LASTEXITCODE" }
}

switch ($Task) {
    'Build' { Invoke-Dotnet build WandbLaunch.sln -c $Configuration }
    'Test' {
        Invoke-Dotnet test WandbLaunch.sln
        if (Get-Module Pester -ListAvailable | Where-Object Version -ge 5.0) {
            Import-Module Pester -MinimumVersion 5.0
            $result = Invoke-Pester tests/Pester -PassThru
            if ($result.FailedCount) { throw "$($result.FailedCount) Pester tests failed" }
        } else {
            Write-Warning 'Pester 5 is not installed: the Pester tests were skipped. Install-Module Pester'
        }
    }
    'Docs' {
        Invoke-Dotnet run --project tools/WandbLaunch.Docs -- $PSScriptRoot
        if (Get-Module platyPS -ListAvailable) {
            # A second opinion on the pages: PlatyPS must be able to read them.
            Import-Module platyPS
            $null = New-ExternalHelp -Path docs -OutputPath ([System.IO.Path]::Combine([System.IO.Path]::GetTempPath(), 'WandbLaunch-help')) -Force
        } else {
            Write-Verbose 'PlatyPS is not installed: the pages were not read by it.'
        }
    }
    'Package' {
        Remove-Item out/WandbLaunch -Recurse -Force -ErrorAction Ignore
        Invoke-Dotnet build src/WandbLaunch.PowerShell -c $Configuration
        $version = (Import-PowerShellDataFile WandbLaunch.psd1).ModuleVersion
        Compress-Archive out/WandbLaunch -DestinationPath "out/WandbLaunch-$version.zip" -Force
        Get-Item "out/WandbLaunch-$version.zip"
    }
}
