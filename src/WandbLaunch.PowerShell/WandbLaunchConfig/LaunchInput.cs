using System.Collections;
using System.Management.Automation;
using System.Runtime.CompilerServices;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>What can be launched, as a launch config: texts, files, tables, and objects of this module, live or read from a file.</summary>
/// <param name="json">Writes tables.</param>
/// <param name="workingFolder">The session's folder in the file system.</param>
/// <param name="address">Makes paths of the session's drives those of the file system.</param>
internal sealed class LaunchInput(ShellJson json, string workingFolder, Func<string, string> address)
{
    // What a launch config has and a table of arguments has not.
    private static readonly string[] ConfigKeys = ["uri", "overrides", "docker", "git", "resource_args", "job"];

    /// <summary>What to launch is said beside the input: the columns of a row are arguments.</summary>
    internal bool RowsAreArguments { get; init; }

    /// <summary>Empty cells of a row are arguments that are empty.</summary>
    internal bool KeepsEmpty { get; init; }

    /// <summary>Keys that this version does not know go through.</summary>
    internal bool AllowsUnknownKeys { get; init; }

    /// <summary>Reads one.</summary>
    /// <param name="value">The input.</param>
    /// <param name="isConfig">A text is a launch config or the path of one, and no address.</param>
    /// <exception cref="LaunchException"><c>InputNotSupported</c>, or what is wrong with the config.</exception>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal LaunchConfig Read(object value, bool isConfig)
    {
        var shell = value as PSObject ?? PSObject.AsPSObject(value);
        switch (shell.BaseObject)
        {
            case string text
                when isConfig || text.TrimStart().StartsWith('{') || text.Contains('\n', StringComparison.Ordinal):
                return Known(LaunchConfig.Read(isConfig ? address(text) : text, workingFolder));
            case string text:
                return new LaunchConfig { Uri = address(text) };
            case Uri uri:
                return new LaunchConfig { Uri = uri.OriginalString };
            case FileSystemInfo file:
                return file is FileInfo && (file.Extension is ".json" or ".yaml" or ".yml")
                    ? Known(LaunchConfig.Read(file.FullName, workingFolder))
                    : new LaunchConfig { Uri = file.FullName };
            case IDictionary map:
                var table = LaunchConfig.FromUtf8(json.Write(map));
                return RowsAreArguments && !isConfig && table.HasUnknownKeysAlone ? Row(map) : Known(table);
            case WandbLaunchQueueItem { Spec: { } spec }:
                // The same again, as a run of its own.
                return LaunchConfig.FromJson(spec) with { RunId = null };
        }

        if (
            (PipelineCommand.KindOf(shell) is { } kind && kind != nameof(LaunchConfig))
            || (!RowsAreArguments && (kind = Looks(shell)) is not null)
        )
        {
            return OfKind(shell, kind);
        }

        if (shell.BaseObject is PSCustomObject)
        {
            // A row of a table beside an address: its columns are arguments.
            return
                RowsAreArguments
                && !shell.TypeNames.Contains(LaunchConfigCommand.ConfigType)
                && !ConfigKeys.Any(k => shell.Properties[k]?.Name == k)
                ? Row(shell)
                : Known(LaunchConfig.FromUtf8(json.Write(shell)));
        }

        return Text(shell, "Uri") is { } uriText
            ? new LaunchConfig { Uri = uriText }
            : throw NotSupported(shell, shell.BaseObject.GetType().Name);
    }

    private LaunchConfig Row(object row) =>
        new()
        {
            Args = ArgumentSet.FromPairs(
                ShellJson
                    .Tree(row)
                    .Select(p => new KeyValuePair<string, object?>(p.Key, ArgumentSet.Plain(p.Value)))
                    .Where(p => KeepsEmpty || p.Value is not "")
            ),
        };

    private LaunchConfig Known(LaunchConfig config)
    {
        if (!AllowsUnknownKeys)
        {
            config.CheckKeys();
        }

        return config;
    }

    // What came by way of JSON or CSV has no type any more; what a launch config never has tells it.
    private static string? Looks(PSObject shell) =>
        shell.BaseObject is not PSCustomObject || shell.TypeNames.Contains(LaunchConfigCommand.ConfigType) ? null
        : Has(shell, "Queue", "QueueProject", "Config") ? nameof(WandbLaunchQueueItem)
        : Has(shell, "SourceType", "Job") ? nameof(WandbLaunchJob)
        : Has(shell, "LogPath", "Source", "Resource") ? nameof(LaunchedRun)
        : shell.Properties["Uri"]?.Name == "Uri" ? nameof(WandbRun)
        : null;

    private static LaunchConfig OfKind(PSObject shell, string kind)
    {
        bool Is(string name) => kind == name;
        return Is(nameof(WandbLaunchQueueItem)) && Text(shell, "Config") is { } config
                ? LaunchConfig.FromText(config, "the item") with
                {
                    RunId = null,
                }
            : Is(nameof(WandbLaunchJob)) && Text(shell, "Job") is { } job ? new LaunchConfig { Job = job }
            // Only the address: the new run goes to the run's project, the user's entity, under a name of its own.
            : Is(nameof(WandbRun)) && Text(shell, "Uri") is { } run ? new LaunchConfig { Uri = run }
            : Is(nameof(LaunchedRun)) && Text(shell, "Config") is { } launched
                ? LaunchConfig.FromText(launched, "the launch")
            : throw NotSupported(shell, kind);
    }

    private static LaunchException NotSupported(PSObject shell, string what) =>
        new(
            "InputNotSupported",
            LaunchErrorCategory.InvalidArgument,
            $"A {what} cannot be launched. Give a run, an address, a folder, a hashtable or an object of New-WandbLaunchConfig.",
            shell
        );

    private static string? Text(PSObject shell, string property) =>
        shell.Properties[property]?.Value?.ToString() is { Length: > 0 } text ? text : null;

    private static bool Has(PSObject shell, params ReadOnlySpan<string> properties)
    {
        foreach (var property in properties)
        {
            if (shell.Properties[property] is null)
            {
                return false;
            }
        }

        return true;
    }
}
