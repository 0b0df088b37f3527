namespace WandbLaunch.IntegrationTests;

public sealed class IsolationTests
{
    // Other versions of what the module uses, loaded by the session before it: what a module for Azure or YAML does.
    [Fact]
    public void A_session_with_other_versions_of_its_dependencies_still_works()
    {
        var json = Path.Combine(AppContext.BaseDirectory, "other", "Newtonsoft.Json.dll");
        var yaml = Path.Combine(AppContext.BaseDirectory, "other", "YamlDotNet.dll");
        Assert.True(File.Exists(json) && File.Exists(yaml));
        var repository = Machine.NewRepository("isolation");
        var output = Machine.Shell(
            $$"""
            $json = [System.Reflection.Assembly]::LoadFrom('{{json}}')
            $yaml = [System.Reflection.Assembly]::LoadFrom('{{yaml}}')
            "before: $($json.GetName().Version) $($yaml.GetName().Version)"
            (New-WandbLaunchConfig -Config "uri: x`noverrides: {args: {a: 1} }").overrides.args.a
            $run = Start-WandbLaunch '{{repository}}' -Resource local-process -Quiet
            $run.State
            try { $null = Start-WandbLaunch '{{repository}}' -DockerHost unix:///no/such.sock -BaseImage x -ErrorAction Stop } catch { $_.FullyQualifiedErrorId }
            [System.AppDomain]::CurrentDomain.GetAssemblies() | Where-Object { $_.GetName().Name -in 'Newtonsoft.Json', 'YamlDotNet', 'WandbLaunch.Core' } | ForEach-Object {
                "$($_.GetName().Name) $($_.GetName().Version) $([System.Runtime.Loader.AssemblyLoadContext]::GetLoadContext($_).Name)"
            }
            """
        );
        // The engine brings a Newtonsoft.Json of its own, which wins in the session over the one that was asked for.
        Assert.Contains(" 13.0.0.0\n", output.ReplaceLineEndings("\n"), StringComparison.Ordinal);
        Assert.Contains("\n1\n", output.ReplaceLineEndings("\n"), StringComparison.Ordinal);
        Assert.Contains("Finished", output, StringComparison.Ordinal);
        Assert.Contains("DockerUnavailable,", output, StringComparison.Ordinal);
        Assert.Contains("WandbLaunch.Core 0.1.0.0 WandbLaunch", output, StringComparison.Ordinal);
        Assert.Contains("YamlDotNet 18.0.0.0 WandbLaunch", output, StringComparison.Ordinal);
    }

    [Fact]
    public void Importing_loads_none_of_the_modules_libraries()
    {
        var output = Machine.Shell(
            """
            "module: $((Get-Module WandbLaunch).Name)"
            [System.AppDomain]::CurrentDomain.GetAssemblies() | ForEach-Object { $_.GetName().Name } | Where-Object { $_ -in 'WandbLaunch.Core', 'LibGit2Sharp', 'Docker.DotNet', 'YamlDotNet', 'Polly.Core', 'Google.Protobuf' }
            $null = Get-Command -Module WandbLaunch
            (New-WandbLaunchConfig x).uri
            [System.AppDomain]::CurrentDomain.GetAssemblies() | ForEach-Object { $_.GetName().Name } | Where-Object { $_ -in 'LibGit2Sharp', 'Docker.DotNet', 'Polly.Core', 'Google.Protobuf' }
            """,
            // pwsh notes what earlier sessions compiled, and compiles it in the background at its start, with all that it needs.
            ("XDG_CACHE_HOME", Directory.CreateTempSubdirectory("wandblaunch-no-profile-").FullName)
        );
        Assert.Equal(
            ["module: WandbLaunch", "x"],
            output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        );
    }

    [Fact]
    public void The_module_imports_twice_and_again_after_it_was_removed()
    {
        var output = Machine.Shell(
            $$"""
            Import-Module '{{Machine.Module}}/WandbLaunch.psd1'
            Remove-Module WandbLaunch
            Import-Module '{{Machine.Module}}/WandbLaunch.psd1' -Force
            Import-Module '{{Machine.Module}}/WandbLaunch.psd1' -Force
            (New-WandbLaunchConfig x).uri
            """
        );
        Assert.Equal("x", output.Trim());
    }
}
