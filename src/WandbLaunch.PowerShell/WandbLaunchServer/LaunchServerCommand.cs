using System.Management.Automation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands for the local launch server.</summary>
public abstract class LaunchServerCommand : PipelineCommand
{
    /// <summary>SQLite file with the server's data. Default: in the user's data folder.</summary>
    [Parameter(Position = 0, ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string? Path { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbLaunch.LocalServer.LaunchServerInfo)];

    internal string DatabasePath => Path is null ? LocalServers.DefaultPath(Context) : FullPath(Path);
}
