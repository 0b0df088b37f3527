# The package, as a user gets it (build.ps1 TestPackage): in a pwsh of its own, on a machine without dotnet, from a local repository.
BeforeAll {
    $sources = (Resolve-Path "$PSScriptRoot/../..").Path
    $package = Get-Item "$sources/out/package/*.nupkg"
    $work = (New-Item -ItemType Directory (Join-Path ([IO.Path]::GetTempPath()) "wandblaunch-package-$(New-Guid)")).FullName
    $repository = (New-Item -ItemType Directory "$work/repository").FullName
    $folder = "$work/content"
    [IO.Compression.ZipFile]::ExtractToDirectory($package, $folder)
    $files = Get-ChildItem $folder -Recurse -File | ForEach-Object { [IO.Path]::GetRelativePath($folder, $_.FullName).Replace('\', '/') }
    $of = { $files -notmatch '^(_rels/|package/|\[Content_Types\]|WandbLaunch\.nuspec)' }
}
AfterAll {
    Unregister-PSResourceRepository Local -ErrorAction Ignore
    Remove-Item $work -Recurse -Force
}

Describe 'what the package holds' {
    It 'has native libraries for five platforms, and none for another' {
        foreach ($part in 'lib', 'server') {
            Get-ChildItem "$folder/$part/runtimes" -Directory | ForEach-Object Name | Sort-Object | Should -Be linux-arm64, linux-x64, osx-arm64, win-arm64, win-x64
            Get-ChildItem "$folder/$part/runtimes" -Recurse -File | Should -HaveCount 5
        }
    }

    It 'has no symbols, no documentation of the compiler, and no path of the machine that built it' {
        (& $of) -match '\.(pdb|xml)$' -notmatch '^en-US/' | Should -BeNullOrEmpty
        $ours = $files -match '(^|/)WandbLaunch\.[^/]*\.dll$'
        $ours.Count | Should -BeGreaterThan 3
        foreach ($file in $ours) { [Text.Encoding]::Latin1.GetString([IO.File]::ReadAllBytes("$folder/$file")).Contains($sources) | Should -BeFalse -Because $file }
    }

    It 'has Core compiled ahead for one platform, of the very assembly that the others take' {
        $identity = {
            $stream = [IO.File]::OpenRead($args[0])
            $reader = [Reflection.PortableExecutable.PEReader]::new($stream)
            try {
                $metadata = [Reflection.Metadata.PEReaderExtensions]::GetMetadataReader($reader)
                $metadata.GetGuid($metadata.GetModuleDefinition().Mvid), ($reader.PEHeaders.CorHeader.ManagedNativeHeaderDirectory.Size -gt 0)
            } finally { $reader.Dispose() }
        }
        Get-ChildItem "$folder/lib/compiled" | ForEach-Object Name | Sort-Object | Should -Be linux-x64
        $portable, $native = & $identity "$folder/lib/WandbLaunch.Core.dll"
        $native | Should -BeFalse
        & $identity "$folder/lib/compiled/linux-x64/WandbLaunch.Core.dll" | Should -Be $portable, $true
    }

    It 'takes what is compiled ahead where the runtime takes it' {
        $script = "Import-Module '$folder/WandbLaunch.psd1'; `$null = New-WandbLaunchConfig x; ([AppDomain]::CurrentDomain.GetAssemblies() | Where-Object { `$_.GetName().Name -eq 'WandbLaunch.Core' }).Location"
        $expected = if ([Environment]::Version.Major -eq 10 -and [Runtime.InteropServices.RuntimeInformation]::RuntimeIdentifier -eq 'linux-x64') { 'lib/compiled/linux-x64/WandbLaunch.Core.dll' } else { 'lib/WandbLaunch.Core.dll' }
        & ([Environment]::ProcessPath) -NoProfile -Command $script | Should -Be (Join-Path $folder $expected)
    }

    It 'is under 40 MB as it is laid out' {
        (& $of | ForEach-Object { (Get-Item "$folder/$_").Length } | Measure-Object -Sum).Sum / 1MB | Should -BeLessThan 40
    }

    It 'says what it is: <_>' -ForEach license, icon, projectUrl, releaseNotes, description, tags, copyright {
        $metadata = ([xml](Get-Content "$folder/WandbLaunch.nuspec" -Raw)).package.metadata
        $metadata.$_ | ForEach-Object { $_ -is [Xml.XmlElement] ? $_.InnerText : $_ } | Should -Not -BeNullOrEmpty
        if ($_ -eq 'icon') { "$folder/$($metadata.icon)" | Should -Exist }
        if ($_ -eq 'tags') { $metadata.tags -split ' ' | Should -Contain PSModule }
    }

    It 'has a catalogue of its files in which each hash is right' {
        $lines = Get-Content "$folder/files.sha256"
        $lines | ForEach-Object { ($_ -split '  ', 2)[1] } | Should -Be (& { $all = [string[]]((& $of) -ne 'files.sha256'); [Array]::Sort($all, [StringComparer]::Ordinal); $all })
        foreach ($line in $lines) { $hash, $name = $line -split '  ', 2; (Get-FileHash "$folder/$name").Hash | Should -Be $hash -Because $name }
    }

    It 'lists each file that Authenticode can sign' {
        Get-Content "$sources/out/package/*.sign.txt" | Should -Be (& { $all = [string[]]((& $of) -match '\.(dll|exe|ps1|psm1|psd1|ps1xml|cat)$'); [Array]::Sort($all, [StringComparer]::Ordinal); $all })
    }

    It 'has a bill of materials with a licence and a hash for each part, and its notices' {
        $bom = Get-Content "$folder/sbom.cdx.json" -Raw | ConvertFrom-Json
        $bom.bomFormat, $bom.specVersion | Should -Be CycloneDX, 1.5
        $bom.components.Count | Should -BeGreaterThan 15
        $bom.components | ForEach-Object { $_.purl | Should -Match '^pkg:(nuget|npm)/[^@]+@\d'; ($_.licenses[0].license.id ?? $_.licenses[0].expression) | Should -Not -BeNullOrEmpty -Because $_.name; $_.hashes[0].content | Should -Match '^[0-9a-f]{128}$' }
        $notices = Get-Content "$folder/ThirdPartyNotices.txt" -Raw
        $bom.components | ForEach-Object { $notices | Should -Match ([regex]::Escape("$($_.name) $($_.version)")) }
        # What lies in the folders of libraries is ours or one of them.
        $known = $bom.components.name -replace '^Microsoft\.AspNetCore\.App.*'
        $files -match '^(lib|server)/[^/]*\.dll$' | ForEach-Object { [IO.Path]::GetFileNameWithoutExtension($_) } | Where-Object { $_ -notlike 'WandbLaunch.*' -and $_ -notin $known } |
            ForEach-Object { $_ } | Should -BeIn 'GraphQLParser', 'Microsoft.Data.Sqlite', 'SQLitePCLRaw.batteries_v2'
    }

    It 'is the same bytes when it is built again in another folder' {
        if (-not $env:WANDBLAUNCH_TEST_PACKAGE_AGAIN) { Set-ItResult -Skipped -Because 'there are changes that are not committed'; return }
        (Get-FileHash $env:WANDBLAUNCH_TEST_PACKAGE_AGAIN).Hash | Should -Be (Get-FileHash $package).Hash
    }
}

Describe 'PSResourceGet' {
    It 'publishes it to a local repository, finds it and installs it' {
        Register-PSResourceRepository Local $repository -Trusted
        Publish-PSResource -NupkgPath $package -Repository Local
        $found = Find-PSResource WandbLaunch -Repository Local
        $found.Version, $found.Type | Should -Be 0.1.0, Module
        $found.Tags | Should -Contain mlops
        Install-PSResource WandbLaunch -Repository Local -TrustRepository -Scope CurrentUser
        $module = Get-Module WandbLaunch -ListAvailable
        $module.ModuleBase | Should -BeLike "$HOME*"
        $module.ProjectUri | Should -Not -BeNullOrEmpty
        $module.ReleaseNotes | Should -Not -BeNullOrEmpty
        Test-ModuleManifest $module.Path -ErrorAction Stop | ForEach-Object { $_.ExportedCmdlets.Count } | Should -BeGreaterThan 30
    }

    It 'gives a module that works by its name alone' {
        $env:WANDBLAUNCH_HOME = "$work/home"
        try {
            (Get-Command Start-WandbLaunch).Module.ModuleBase | Should -BeLike "$HOME*"
            $server = Start-WandbLaunchServer
            $server.Running | Should -BeTrue
            Stop-WandbLaunchServer
            (Get-Help Start-WandbLaunch -Parameter NoWait).description.Text | Should -Not -BeNullOrEmpty
        } finally { $env:WANDBLAUNCH_HOME = $null }
    }
}
