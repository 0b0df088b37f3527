using System.Management.Automation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Lists the alerts that runs sent.</summary>
/// <remarks>What a program says with wandb.alert is kept by the launch server with its run, and sent on to a webhook where one is set (Start-WandbLaunchServer -AlertWebhook). W&amp;B's own service sends alerts by e-mail or to a chat and does not give them back.</remarks>
/// <example><para>List a run's alerts</para><code>Get-WandbRun -Project demo | Get-WandbRunAlert</code><para>Severity, title and text of each, the oldest first.</para></example>
/// <example><para>Only what is serious</para><code>Get-WandbRun -Project demo | Get-WandbRunAlert -Severity ERROR, WARN</code><para>A program says how serious it is with the level of wandb.alert.</para></example>
/// <example><para>What came in the last hour, of all runs of a project</para><code>Get-WandbRun -Project demo | Get-WandbRunAlert | Where-Object { $_.Created -gt [DateTimeOffset]::Now.AddHours(-1) } | Sort-Object Created</code><para>Created is the time at which the server took it.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbRunAlert")]
[OutputType("WandbLaunch.Wandb.WandbRunAlert")]
public sealed class GetWandbRunAlertCommand : PipelineCommand
{
    /// <summary>Id of the run.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(RunIdCompleter))]
    [Alias("RunId")]
    public string Id { get; set; } = "";

    /// <summary>Only alerts that are as serious as this. Default: all.</summary>
    [Parameter]
    [ValidateSet("INFO", "WARN", "ERROR")]
    public string[]? Severity { get; set; }

    /// <summary>Project of the run. Default: the connection's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Entity of the run. Default: the connection's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => RunKinds;

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var connection = await GetConnectionAsync(Connection);
        var run =
            PipedRun(connection)
            ?? new RunPath(Entity ?? connection.Entity ?? "", NeedProject(connection, Project, Id), Id);
        foreach (var alert in await connection.Api.AlertsAsync(run, Token))
        {
            if (Severity is null || Severity.Contains(alert.Severity, StringComparer.OrdinalIgnoreCase))
            {
                Output(alert);
            }
        }
    }
}
