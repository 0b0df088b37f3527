using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Shows jobs.</summary>
/// <remarks>A job says what to run: a commit of a repository, a version of a folder's code, or an image. It is kept on the server, where any agent can read it. Shows the newest version of each, or with -AllVersions all. Jobs flow into Start-WandbLaunch and Add-WandbLaunchQueueItem.</remarks>
/// <example><para>The jobs of a project</para><code>Connect-Wandb -Local; Get-WandbLaunchJob -Project demo</code><para>Name, version, kind and source.</para></example>
/// <example><para>Queue one with another argument</para><code>Connect-Wandb -Local; Get-WandbLaunchJob *train* -Project demo | Add-WandbLaunchQueueItem -Argument lr=0.1 -Queue gpu</code><para>Names take wildcards.</para></example>
/// <example><para>The newest version of each</para><code>Connect-Wandb -Local; Get-WandbLaunchJob -Project demo | Group-Object Name | ForEach-Object { $_.Group[0] } | Select-Object Name, Version, Created</code><para>An alias such as :latest or :v3 chooses one.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunchJob")]
[OutputType("WandbLaunch.Wandb.WandbLaunchJob")]
public sealed class GetWandbLaunchJobCommand : PipelineCommand
{
    /// <summary>Names, with wildcards; or entity/project/name:alias of one version.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true)]
    [SupportsWildcards]
    [ArgumentCompleter(typeof(JobCompleter))]
    public string[] Name { get; set; } = ["*"];

    /// <summary>Project. Default: the connection's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("p")]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Owner of the project. Default: the connection's entity.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("e")]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>All versions, newest first.</summary>
    [Parameter]
    public SwitchParameter AllVersions { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds =>
        [nameof(WandbLaunch.Wandb.WandbLaunchJob), nameof(WandbConnection)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var server = await GetConnectionAsync(Connection);
        var api = new JobApi(new ArtifactApi(server.Transport, server.Api));
        foreach (var name in Kind == nameof(WandbLaunch.Wandb.WandbLaunchJob) ? Texts("Job") : Name)
        {
            try
            {
                if (name.Contains('/', StringComparison.Ordinal) && !WildcardPattern.ContainsWildcardCharacters(name))
                {
                    Output(await api.GetAsync(JobPath.Parse(name), Token));
                    continue;
                }

                var entity = QueueCommand.NeedEntity(server, Entity);
                var project =
                    Project
                    ?? server.Project
                    ?? throw new LaunchException(
                        "ProjectMissing",
                        LaunchErrorCategory.InvalidArgument,
                        "It is not known in which project to look. Give -Project, or set WANDB_PROJECT.",
                        name
                    );
                var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
                var found = await api.ListAsync(entity, project, pattern.IsMatch, AllVersions, Token);
                found.ToList().ForEach(Output);
                if (found.Count == 0 && !WildcardPattern.ContainsWildcardCharacters(name))
                {
                    throw new LaunchException(
                        "JobNotFound",
                        LaunchErrorCategory.ObjectNotFound,
                        $"There is no job {name} in {entity}/{project}. See Get-WandbLaunchJob -Project {project}.",
                        name
                    );
                }
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}
