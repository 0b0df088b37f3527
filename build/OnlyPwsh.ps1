<#
.SYNOPSIS
Lays out in -Path a PowerShell that brings its own .NET, as an MSI, winget, brew or a .deb do.
.DESCRIPTION
The runtime and the apphost come from the registry (tools/OnlyPwsh), everything else from the .NET tool of
.config/dotnet-tools.json. What pwsh.deps.json and pwsh.runtimeconfig.json then say is what those of the real packages say.
#>
[CmdletBinding()]
param([Parameter(Mandatory)] [string] $Path)

$ErrorActionPreference = 'Stop'
$root = Split-Path $PSScriptRoot
dotnet publish (Join-Path $root tools/OnlyPwsh) -c Release -o $Path --nologo --verbosity quiet -consoleLoggerParameters:ErrorsOnly
if ($LASTEXITCODE) { throw 'The runtime could not be laid out.' }
Push-Location $root
try { $tool = dotnet tool run pwsh -NoProfile -NoLogo -Command '$PSHOME' } finally { Pop-Location }

$runtime = Get-Content (Join-Path $Path pwsh.deps.json) -Raw | ConvertFrom-Json -AsHashtable
$configuration = Get-Content (Join-Path $Path pwsh.runtimeconfig.json) -Raw | ConvertFrom-Json -AsHashtable
$deps = Get-Content (Join-Path $tool pwsh.deps.json) -Raw | ConvertFrom-Json -AsHashtable
$options = Get-Content (Join-Path $tool pwsh.runtimeconfig.json) -Raw | ConvertFrom-Json -AsHashtable

# The tool has a program of the same name, which needs a dotnet; the apphost is the one that stays.
Get-ChildItem $tool -Exclude pwsh, pwsh.exe | Copy-Item -Destination $Path -Recurse -Force

$target = $runtime.runtimeTarget.name
$rid = ($target -split '/')[1]
$packName = @($runtime.libraries.Keys -like 'runtimepack.*')[0]
$known = @($runtime.targets[$target][$packName].runtime.Keys)
$portable = $deps.targets[$deps.runtimeTarget.name]
$flat = [ordered]@{ $packName = $runtime.targets[$target][$packName] }
foreach ($library in $portable.Keys) {
    # Self-contained: assets lie in one folder, those of this platform in place of the neutral ones, and the runtime's own before both.
    $entry = [ordered]@{ dependencies = $portable[$library].dependencies; runtime = [ordered]@{}; native = [ordered]@{} }
    foreach ($asset in $portable[$library].runtime.Keys) {
        if ((Split-Path $asset -Leaf) -notin $known) { $entry.runtime[(Split-Path $asset -Leaf)] = $portable[$library].runtime[$asset] }
    }
    foreach ($for in 'unix', ($rid -replace '-.*'), $rid) {
        foreach ($asset in $portable[$library].runtimeTargets.Keys) {
            $what = $portable[$library].runtimeTargets[$asset]
            $file = Split-Path $asset -Leaf
            if ($what.rid -ne $for -or $file -in $known -or ($for -eq 'unix' -and $IsWindows)) { continue }
            Copy-Item (Join-Path $tool $asset) (Join-Path $Path $file) -Force
            $entry[$what.assetType][$file] = @{}
        }
    }
    $flat[$library] = $entry
}
Remove-Item (Join-Path $Path runtimes) -Recurse
$deps.runtimeTarget = $runtime.runtimeTarget
$deps.targets = [ordered]@{ ($target -replace '/.*') = [ordered]@{}; $target = $flat }
$deps.libraries[$packName] = $runtime.libraries[$packName]
$deps | ConvertTo-Json -Depth 20 | Set-Content (Join-Path $Path pwsh.deps.json)

$options.runtimeOptions.Remove('framework')
$options.runtimeOptions.includedFrameworks = @($configuration.runtimeOptions.includedFrameworks)
$options | ConvertTo-Json -Depth 20 | Set-Content (Join-Path $Path pwsh.runtimeconfig.json)
