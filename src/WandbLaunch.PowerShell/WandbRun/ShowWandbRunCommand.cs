using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Opens the page of a run in the browser.</summary>
/// <remarks>Takes runs, launches, items and files from the pipeline, or an id or address; without any it is the newest of the project. Where there is no browser (a server, a container, another machine over ssh) the address is written instead. The variable BROWSER names the browser, where it should be another than the platform's, or none.</remarks>
/// <example><para>The page of the newest run</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo | Select-Object -First 1 | Show-WandbRun</code><para>Writes the address where there is no browser.</para></example>
/// <example><para>Addresses for a message, without a browser</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo | Show-WandbRun -WhatIf</code><para>Opens nothing. Get-WandbRun has the address too, in the property Uri.</para></example>
/// <example><para>The newest run of a project, and its address</para><code>Connect-Wandb -Local; Show-WandbRun -Project demo -PassThru</code><para>Without an id it is the newest.</para></example>
[Cmdlet(VerbsCommon.Show, "WandbRun", SupportsShouldProcess = true)]
[OutputType(typeof(string))]
public sealed class ShowWandbRunCommand : PageCommand
{
    /// <summary>Ids of runs, or their addresses: https://wandb.ai/entity/project/runs/id, or entity/project/runs/id. Default: the newest of the project.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("RunId", "Uri", "Url")]
    [ArgumentCompleter(typeof(RunIdCompleter))]
    public string[] Id { get; set; } = [];

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
        if (Kind is not null)
        {
            await OpenAsync(await PageOfInputAsync());
            return;
        }

        if (Id.Length == 0 && !MyInvocation.ExpectingInput)
        {
            var server = await GetConnectionAsync(Connection);
            var newest = await KnownRun.NewestPathAsync((server, EntityOf(server), ProjectOf(server)), Token);
            await OpenAsync(server.PageOf(newest));
            return;
        }

        foreach (var id in Id)
        {
            try
            {
                await OpenAsync(await PageOfAsync(id));
            }
            catch (LaunchException e)
            {
                Error(e, id);
            }
        }
    }

    // What is known of a run already needs no connection.
    private async Task<string> PageOfInputAsync()
    {
        var known = Kind switch
        {
            nameof(WandbLaunch.Wandb.WandbRun) => Text("Uri"),
            nameof(WandbLaunchQueueItem) => Text("RunUri"),
            nameof(LaunchedRun) => Text("Uri") ?? throw ShowWandbLaunchCommand.NoPage(Text("Id") ?? "", InputObject),
            _ => null,
        };
        if (IsPage(known))
        {
            return known!;
        }

        var connection = await GetConnectionAsync(Connection);
        return connection.PageOf(PipedRun(connection)!.Value);
    }

    private async Task<string> PageOfAsync(string id)
    {
        if (id.Contains('/', StringComparison.Ordinal))
        {
            var parsed = LaunchUri.Parse(id, WorkingFolder);
            return parsed.Kind != LaunchUriKind.WandbRun
                    ? throw new LaunchException(
                        "RunUriInvalid",
                        LaunchErrorCategory.InvalidArgument,
                        $"'{id}' is not the address of a W&B run.",
                        id
                    )
                : IsPage(id) ? id
                : (await GetConnectionAsync(Connection)).PageOf(parsed.Run);
        }

        var connection = await GetConnectionAsync(Connection);
        return connection.PageOf(new RunPath(EntityOf(connection), ProjectOf(connection), id));
    }

    private string EntityOf(WandbConnection connection) => QueueCommand.NeedEntity(connection, Entity);

    private string ProjectOf(WandbConnection connection) => NeedProject(connection, Project);
}
