using System.Management.Automation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Shows who did what on the launch server of this machine.</summary>
/// <remarks>Who queued, popped, made, changed and deleted something, signed in to the page, or was refused; when, with which program, and from where. Entries come as they are read, the oldest first. What runs and agents send all the time (metrics, files, heartbeats) is not noted; what happened to an item stands in its history on the page. Entries are kept for 90 days, and a million of them at most. Nothing that a launch config, a run or an alert holds is in it.</remarks>
/// <example><para>What happened in the last hour?</para><code>Start-WandbLaunchServer | Get-WandbLaunchServerAudit -Since (Get-Date).AddHours(-1)</code><para>Time, user, action, and what it was done to.</para></example>
/// <example><para>Who deleted something?</para><code>Connect-Wandb -Local; Get-WandbLaunchServerAudit -Action Deleted | Select-Object Time, User, Entity, Subject, Address</code><para>Runs, queues, items, artifacts, files and users.</para></example>
/// <example><para>How often was a user refused?</para><code>Connect-Wandb -Local; Get-WandbLaunchServerAudit -User ada, bob -Action Refused | Group-Object User -NoElement</code><para>Many may be a program that has the wrong key, or the wrong team.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunchServerAudit")]
[OutputType("WandbLaunch.LocalServer.LaunchServerAuditEntry")]
public sealed class GetWandbLaunchServerAuditCommand : PipelineCommand
{
    /// <summary>Only what happened since then. Default: all that is kept.</summary>
    [Parameter(Position = 0)]
    public DateTimeOffset? Since { get; set; }

    /// <summary>Only what these users did; wildcards are allowed. local is whoever has the server's own key.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ServerUserCompleter))]
    [SupportsWildcards]
    [ValidateNotNullOrEmpty]
    public string[] User { get; set; } = ["*"];

    /// <summary>Only these actions. Default: all.</summary>
    [Parameter]
    [ValidateSet("Queued", "Popped", "Created", "Changed", "Deleted", "SignedIn", "Refused")]
    public string[] Action { get; set; } = [];

    /// <summary>SQLite file of the server. Default: in the user's data folder.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string? Path { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(LaunchServerInfo)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var server = await LocalServers.NeedAsync(
            Path is null ? LocalServers.DefaultPath(Context) : FullPath(Path),
            Token
        );

        // One name is the server's to find; patterns and several are looked for here.
        var one = User is [var name] && !WildcardPattern.ContainsWildcardCharacters(name) ? name : null;
        var patterns = User.Select(u => WildcardPattern.Get(u, WildcardOptions.IgnoreCase)).ToList();
        await foreach (var page in ServerAudit.PagesAsync(server, Since, one, Action, Token))
        {
            OutputAll([.. page.Where(e => patterns.Exists(p => p.IsMatch(e.User)))]);
        }
    }
}
