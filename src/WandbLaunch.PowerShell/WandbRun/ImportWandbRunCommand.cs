using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Import;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Takes run folders that the W&amp;B SDK left on disk into the connected server.</summary>
/// <remarks>Takes a folder such as wandb/offline-run-20261124_070622-22stxuh9, or a folder with several of them. Files, metadata, configuration, summary and history go along; for an offline run the last three are only in its .wandb file. A run that is there already is brought up to date. A run that was cut off is imported as crashed.</remarks>
/// <example><para>Import one offline run</para><code>Connect-Wandb -Local; Import-WandbRun ./wandb/offline-run-20261124_070622-22stxuh9 -Entity local</code><para>Shows the imported run.</para></example>
/// <example><para>See which runs a project's folder holds</para><code>Import-WandbRun . -WhatIf</code><para>Finds the runs in ./wandb.</para></example>
/// <example><para>Import everything below a folder, once</para><code>Connect-Wandb -Local; Import-WandbRun . -Entity local -Project demo | Select-Object Id, State, Project</code><para>A run that is there already is brought up to date.</para></example>
[Cmdlet(VerbsData.Import, "WandbRun", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbRun")]
public sealed class ImportWandbRunCommand : PipelineCommand
{
    /// <summary>Run folder, or a folder with run folders (or a wandb folder) in it.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("FullName", "PSPath")]
    [SupportsWildcards]
    public string[] Path { get; set; } = [];

    /// <summary>Project to import into. Default: the run's own.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Entity to import into. Default: the run's own, else the connection's.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => Array.Empty<string>();

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var connection = await GetConnectionAsync(Connection);
        foreach (var path in Path)
        {
            IReadOnlyList<string> folders = [];
            try
            {
                folders = RunFolderImport.Find(FullPath(path));
            }
            catch (LaunchException e)
            {
                Error(e, path);
            }

            foreach (var folder in folders)
            {
                try
                {
                    if (await ShouldProcessAsync(folder, $"Import run into {connection.BaseUrl}"))
                    {
                        var run = await RunFolderImport.ImportAsync(
                            connection.Api,
                            folder,
                            Entity,
                            Project,
                            connection.Entity ?? "local",
                            new CallbackProgress(p => Progress("Importing runs", p.Text, p.Percent)),
                            Token,
                            Warn
                        );
                        Output(await connection.Api.RunAsync(run, connection.AppUrl, Token));
                    }
                }
                catch (Exception e) when (e is LaunchException or IOException or System.Text.Json.JsonException)
                {
                    Error(e, folder);
                }
            }
        }

        Progress("Importing runs", "", 100);
    }
}
