using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Lists or saves the files of runs.</summary>
/// <remarks>Lists the files that a run uploaded. With -Destination they are saved below a folder for each run; a file whose digest does not fit is an error, and names that would leave the folder are refused.</remarks>
/// <example><para>List a run's files</para><code>Get-WandbRun -Project demo | Get-WandbRunFile</code><para>Name, size and time of each.</para></example>
/// <example><para>Save the patches of all runs</para><code>Get-WandbRun -Project demo | Get-WandbRunFile -Name diff.patch -Destination ./patches</code><para>LocalPath names the saved file.</para></example>
/// <example><para>Read the arguments that a run was started with</para><code>Get-WandbRun -Project demo | Get-WandbRunFile -Name wandb-metadata.json -Destination ./meta | ForEach-Object { (Get-Content $_.LocalPath -Raw | ConvertFrom-Json).args }</code><para>Files of a run are downloaded once, and checked by their digest.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbRunFile", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbRunFile")]
public sealed class GetWandbRunFileCommand : PipelineCommand
{
    /// <summary>Id of the run.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(RunIdCompleter))]
    [Alias("RunId")]
    public string Id { get; set; } = "";

    /// <summary>Names of files inside the run; wildcards are allowed.</summary>
    [Parameter(Position = 1)]
    [SupportsWildcards]
    [ArgumentCompleter(typeof(RunFileCompleter))]
    public string[] Name { get; set; } = ["*"];

    /// <summary>Project of the run. Default: the connection's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Entity of the run. Default: the connection's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Folder to save to; each run gets a folder of its own in it.</summary>
    [Parameter]
    public string? Destination { get; set; }

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
        var patterns = Name.Select(n => WildcardPattern.Get(n, WildcardOptions.IgnoreCase)).ToList();
        foreach (
            var file in (await connection.Api.FilesAsync(run, null, Token)).Where(f =>
                patterns.Exists(p => p.IsMatch(f.Name))
            )
        )
        {
            try
            {
                if (Destination is null)
                {
                    Output(file);
                }
                else if (
                    await ShouldProcessAsync(
                        System.IO.Path.Combine(FullPath(Destination), run.Id, file.Name),
                        "Save file"
                    )
                )
                {
                    var folder = SafePath.Combine(FullPath(Destination), run.Id, "run id");
                    Output(file with { LocalPath = await connection.Api.SaveFileAsync(file, folder, Token) });
                }
            }
            catch (Exception e) when (e is LaunchException or IOException or UnauthorizedAccessException)
            {
                Error(e, file);
            }
        }
    }
}
