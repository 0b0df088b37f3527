#Requires -Version 7.4
<#
.SYNOPSIS
Builds, runs, tests and packs WandbLaunch.
.DESCRIPTION
The tasks are in build/WandbLaunch.build.ps1. Without pwsh they are run by: dotnet run --project build -- TASK [WORDS]
.EXAMPLE
./build.ps1 Build, Docs
.EXAMPLE
./build.ps1 Quickstart -Resource local-container
.EXAMPLE
./build.ps1 Pester WandbRun, WandbRunFile
#>
[CmdletBinding()]
param(
    [ValidateSet('Build', 'Module', 'Quickstart', 'Test', 'TestOnlyPwsh', 'TestPackage', 'TestWindows', 'Pester', 'Docs', 'Recording', 'Format', 'CheckFormat', 'Package')]
    [Parameter(Position = 0)] [string[]] $Task = 'Build',
    [ValidateSet('Debug', 'Release')] [string] $Configuration = 'Debug',
    # Further words: those of quickstart.ps1, of dotnet test, or names of Pester's files.
    [Parameter(ValueFromRemainingArguments)] [string[]] $Argument
)

$ErrorActionPreference = 'Stop'
dotnet build (Join-Path $PSScriptRoot tools/PowerShell) --nologo --verbosity quiet -consoleLoggerParameters:ErrorsOnly
if ($LASTEXITCODE) { throw 'pwsh and the modules of out/tools could not be restored.' }
Import-Module (Join-Path $PSScriptRoot out/tools/Modules/InvokeBuild)
Invoke-Build $Task (Join-Path $PSScriptRoot build/WandbLaunch.build.ps1) -Configuration $Configuration -Argument $Argument
