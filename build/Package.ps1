<#
.SYNOPSIS
Makes the package of the module that is laid out in -Module: WandbLaunch.VERSION.nupkg, the same bytes from the same files.
.DESCRIPTION
Into the module go its licence, its changes, the notices and the bill of materials of what it brings (CycloneDX), and the
catalogue of its files (files.sha256; on Windows WandbLaunch.cat too). Beside the package: the list of the files that
Authenticode can sign, so that who signs does it between two calls of this.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory)] [string] $Module,
    [Parameter(Mandatory)] [string] $Destination
)

$ErrorActionPreference = 'Stop'
$root = Split-Path $PSScriptRoot
$Module = (Resolve-Path $Module).Path
$null = New-Item -ItemType Directory $Destination -Force
$manifest = Import-PowerShellDataFile (Join-Path $Module WandbLaunch.psd1)
$version = $manifest.ModuleVersion
$packages = $env:NUGET_PACKAGES ? $env:NUGET_PACKAGES : (Join-Path $HOME .nuget/packages)
# The commit's time stands for the time of everything in it.
$seconds = git -C $root log -1 --format=%ct 2> $null
$time = [DateTimeOffset]::FromUnixTimeSeconds($(if ($seconds) { $seconds } else { 315532800 }))
function Write-Text([string] $Path, [string] $Text) { [IO.File]::WriteAllText($Path, $Text.ReplaceLineEndings("`n")) }
function Get-ModuleFile { [IO.Directory]::GetFiles($Module, '*', 'AllDirectories') | ForEach-Object { [IO.Path]::GetRelativePath($Module, $_).Replace('\', '/') } }
function Sort-Ordinal([string[]] $Text) { [Array]::Sort($Text, [StringComparer]::Ordinal); $Text }

Copy-Item (Join-Path $root LICENSE), (Join-Path $root CHANGELOG.md), (Join-Path $PSScriptRoot package/icon.png) $Module

# What is brought: the packages that the programs' own lists name, where a file of theirs is here.
$parts = [Collections.Generic.SortedDictionary[string, object]]::new([StringComparer]::Ordinal)
foreach ($file in Get-ChildItem $Module -Recurse -Filter *.deps.json) {
    $deps = Get-Content $file.FullName -Raw | ConvertFrom-Json -AsHashtable
    foreach ($target in $deps.targets.Values) {
        foreach ($name in $target.Keys) {
            if ($deps.libraries[$name].type -ne 'package') { continue }
            $assets = @($target[$name].runtime.Keys) + @($target[$name].runtimeTargets.Keys) | Where-Object { $_ }
            $here = $assets | Where-Object { (Test-Path (Join-Path $file.DirectoryName (Split-Path $_ -Leaf))) -or (Test-Path (Join-Path $file.DirectoryName $_)) }
            if ($here) { $parts[$name] = $deps.libraries[$name].sha512 -replace '^sha512-' }
        }
    }
}
$web = ([xml](Get-Content (Join-Path $root src/WandbLaunch.PowerShell/WandbLaunch.PowerShell.csproj) -Raw)).SelectSingleNode('//AspNetCoreVersion').InnerText
$webName = "Microsoft.AspNetCore.App.Runtime.linux-x64/$web"
$parts[$webName] = (Get-Content (Join-Path $packages "$($webName.ToLowerInvariant())/$($webName.ToLowerInvariant().Replace('/', '.')).nupkg.sha512") -Raw).Trim()

# Licences that may be here. Files stand for what has no short name in its package: their text is in the notices.
$allowed = 'MIT', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause'
$ofFile = @{
    'Docker.DotNet'              = 'MIT'
    'LibGit2Sharp'               = 'MIT'
    # "Unlimited permission to link the compiled version of this library into combinations with other programs."
    'LibGit2Sharp.NativeBinaries' = 'GPL-2.0-only WITH GCC-exception-2.0'
}
$components = [Collections.Generic.List[object]]::new()
$notices = [Text.StringBuilder]::new("WandbLaunch brings parts of others, under these licences.`n")
foreach ($key in $parts.Keys) {
    $name, $number = $key -split '/'
    $folder = Join-Path $packages $name.ToLowerInvariant() $number
    $spec = ([xml](Get-Content (Join-Path $folder "$($name.ToLowerInvariant()).nuspec") -Raw)).package.metadata
    $expression = if ($spec.license.type -eq 'expression') { $spec.license.'#text' } else { $ofFile[$name] }
    if ($expression -notin $allowed -and $name -notin $ofFile.Keys) { throw "$key is under '$expression', which is not among the licences that may be in the package." }
    $texts = @(if ($spec.license.type -eq 'file') { $spec.license.'#text' } else { 'LICENSE', 'LICENSE.md', 'LICENSE.TXT', 'LICENSE.txt' }) + 'THIRD-PARTY-NOTICES.TXT' |
        ForEach-Object { Join-Path $folder $_ } | Where-Object { Test-Path $_ } | Select-Object -Unique
    $null = $notices.Append("`n$('=' * 80)`n$name $number`: $expression`n$($spec.projectUrl)`n$($spec.copyright ?? "(c) $($spec.authors)")`n")
    foreach ($text in $texts) { $null = $notices.Append("`n$((Get-Content $text -Raw).Trim())`n") }
    $components.Add([ordered]@{
            type     = 'library'
            'bom-ref' = "pkg:nuget/$name@$number"
            name     = $name
            version  = $number
            hashes   = @([ordered]@{ alg = 'SHA-512'; content = [Convert]::ToHexString([Convert]::FromBase64String($parts[$key])).ToLowerInvariant() })
            licenses = @(if ($expression -match ' ') { [ordered]@{ expression = $expression } } else { [ordered]@{ license = [ordered]@{ id = $expression } } })
            purl     = "pkg:nuget/$name@$number"
        })
}

# What the server's page brings is in its sources as it is served: each file with its package, licence and hash.
$vendor = Join-Path $root src/WandbLaunch.Server/Page/Vendor
foreach ($package in Get-Content (Join-Path $vendor vendor.json) -Raw | ConvertFrom-Json | Group-Object package) {
    $first = $package.Group[0]
    $null = $notices.Append("`n$('=' * 80)`n$($first.package) $($first.version): $($first.licence)`nhttps://www.npmjs.com/package/$($first.package)`n")
    foreach ($text in $package.Group.licenceFiles | Select-Object -Unique) { $null = $notices.Append("`n$((Get-Content (Join-Path $vendor licences $text) -Raw).Trim())`n") }
    $purl = "pkg:npm/$($first.package -replace '^@', '%40')@$($first.version)"
    $components.Add([ordered]@{
            type     = 'library'
            'bom-ref' = $purl
            name     = $first.package
            version  = $first.version
            hashes   = @([ordered]@{ alg = 'SHA-512'; content = (Get-FileHash (Join-Path $vendor $first.file) -Algorithm SHA512).Hash.ToLowerInvariant() })
            licenses = @([ordered]@{ license = [ordered]@{ id = $first.licence -replace ' .*' } })
            purl     = $purl
        })
}
Write-Text (Join-Path $Module ThirdPartyNotices.txt) $notices
$bom = [ordered]@{
    bomFormat    = 'CycloneDX'
    specVersion  = '1.5'
    version      = 1
    metadata     = [ordered]@{
        timestamp = $time.UtcDateTime.ToString('yyyy-MM-ddTHH:mm:ssZ')
        component = [ordered]@{ type = 'library'; 'bom-ref' = "pkg:nuget/WandbLaunch@$version"; name = 'WandbLaunch'; version = $version; licenses = @([ordered]@{ license = [ordered]@{ id = 'MIT' } }); purl = "pkg:nuget/WandbLaunch@$version" }
    }
    components   = @($components)
    dependencies = @([ordered]@{ ref = "pkg:nuget/WandbLaunch@$version"; dependsOn = @($components.'bom-ref') })
}
Write-Text (Join-Path $Module sbom.cdx.json) (($bom | ConvertTo-Json -Depth 10) + "`n")

# The catalogue: each file but itself, in the form that sha256sum -c checks. The one that Windows checks can be made on Windows alone.
Remove-Item (Join-Path $Module files.sha256), (Join-Path $Module WandbLaunch.cat) -ErrorAction Ignore
if ($IsWindows) { $null = New-FileCatalog -Path $Module -CatalogFilePath (Join-Path $Module WandbLaunch.cat) -CatalogVersion 2 }
$hashes = Sort-Ordinal (Get-ModuleFile) | ForEach-Object { '{0}  {1}' -f (Get-FileHash (Join-Path $Module $_)).Hash.ToLowerInvariant(), $_ }
Write-Text (Join-Path $Module files.sha256) (($hashes -join "`n") + "`n")
$files = Sort-Ordinal (Get-ModuleFile)
$signable = $files -match '\.(dll|exe|ps1|psm1|psd1|ps1xml|cat)$'
Write-Text (Join-Path $Destination "WandbLaunch.$version.sign.txt") (($signable -join "`n") + "`n")

# The package itself. Compress-PSResource would put the time of now into it.
$notesOf = [regex]::Match((Get-Content (Join-Path $root CHANGELOG.md) -Raw), "(?ms)^## $([regex]::Escape($version))[^\n]*\n(.*?)(?=^## |\z)").Groups[1].Value.Trim()
$escape = { [Security.SecurityElement]::Escape($args[0]) }
$data = $manifest.PrivateData.PSData
$tags = @($data.Tags) + 'PSModule', 'PSIncludes_Cmdlet' + ($manifest.CmdletsToExport | ForEach-Object { "PSCmdlet_$_"; "PSCommand_$_" })
$nuspec = @"
<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd">
  <metadata>
    <id>WandbLaunch</id>
    <version>$version</version>
    <authors>$(& $escape $manifest.Author)</authors>
    <owners>$(& $escape $manifest.CompanyName)</owners>
    <requireLicenseAcceptance>false</requireLicenseAcceptance>
    <license type="expression">MIT</license>
    <licenseUrl>https://licenses.nuget.org/MIT</licenseUrl>
    <icon>icon.png</icon>
    <projectUrl>$(& $escape $data.ProjectUri)</projectUrl>
    <description>$(& $escape $manifest.Description)</description>
    <releaseNotes>$(& $escape $notesOf)</releaseNotes>
    <copyright>$(& $escape $manifest.Copyright)</copyright>
    <tags>$(& $escape ($tags -join ' '))</tags>
  </metadata>
</package>
"@
$core = "package/services/metadata/core-properties/$($manifest.GUID -replace '-').psmdcp"
$properties = @"
<?xml version="1.0" encoding="utf-8"?>
<coreProperties xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"><dc:creator>$(& $escape $manifest.Author)</dc:creator><dc:description>$(& $escape $manifest.Description)</dc:description><dc:identifier>WandbLaunch</dc:identifier><version>$version</version></coreProperties>
"@
$relations = @"
<?xml version="1.0" encoding="utf-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Type="http://schemas.microsoft.com/packaging/2010/07/manifest" Target="/WandbLaunch.nuspec" Id="R1" /><Relationship Type="http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties" Target="/$core" Id="R2" /></Relationships>
"@
$endings = Sort-Ordinal ($files | ForEach-Object { [IO.Path]::GetExtension($_).TrimStart('.') } | Where-Object { $_ } | Select-Object -Unique)
$types = @"
<?xml version="1.0" encoding="utf-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml" /><Default Extension="psmdcp" ContentType="application/vnd.openxmlformats-package.core-properties+xml" /><Default Extension="nuspec" ContentType="application/octet" />$(($endings | ForEach-Object { "<Default Extension=`"$_`" ContentType=`"application/octet`" />" }) -join '')$(($files | Where-Object { -not [IO.Path]::GetExtension($_) } | ForEach-Object { "<Override PartName=`"/$_`" ContentType=`"application/octet`" />" }) -join '')</Types>
"@
$package = Join-Path (Resolve-Path $Destination) "WandbLaunch.$version.nupkg"
Remove-Item $package -ErrorAction Ignore
$archive = [IO.Compression.ZipFile]::Open($package, 'Create')
try {
    $write = {
        param($Name, [byte[]] $Bytes)
        $entry = $archive.CreateEntry($Name, 'SmallestSize')
        $entry.LastWriteTime = $time
        # Files that their owner writes and everybody reads, on whatever platform this runs.
        $entry.ExternalAttributes = [Convert]::ToInt32('100644', 8) -shl 16
        $stream = $entry.Open()
        $stream.Write($Bytes)
        $stream.Dispose()
    }
    & $write '[Content_Types].xml' ([Text.Encoding]::UTF8.GetBytes($types.ReplaceLineEndings("`n")))
    & $write '_rels/.rels' ([Text.Encoding]::UTF8.GetBytes($relations.ReplaceLineEndings("`n")))
    & $write 'WandbLaunch.nuspec' ([Text.Encoding]::UTF8.GetBytes($nuspec.ReplaceLineEndings("`n")))
    & $write $core ([Text.Encoding]::UTF8.GetBytes($properties.ReplaceLineEndings("`n")))
    foreach ($file in $files) { & $write $file ([IO.File]::ReadAllBytes((Join-Path $Module $file))) }
} finally { $archive.Dispose() }
Get-Item $package
