using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Copies all that the launch server of this machine has to a folder.</summary>
/// <remarks>The database as it is at one moment, and the files that it names: runs, queues, artifacts, users, the log of who did what. The server goes on meanwhile, or need not run. A second backup to the same folder copies what is new and takes the first one's place when it is whole. The server's own key is not in it; the keys of users are, as hashes.</remarks>
/// <example><para>Back it up</para><code>Start-WandbLaunchServer | Backup-WandbLaunchServer -Destination ./backup</code><para>Again tomorrow, the same folder: what is there already is not copied.</para></example>
/// <example><para>A folder for each day</para><code>Connect-Wandb -Local; Backup-WandbLaunchServer "./backups/$(Get-Date -Format yyyy-MM-dd)" | Select-Object Created, Files, Size</code><para>Each is whole by itself.</para></example>
/// <example><para>What would be copied where?</para><code>Connect-Wandb -Local; Backup-WandbLaunchServer ./backup -WhatIf</code><para>Names database and folder.</para></example>
[Cmdlet(VerbsData.Backup, "WandbLaunchServer", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.LocalServer.LaunchServerBackup")]
public sealed class BackupWandbLaunchServerCommand : PipelineCommand
{
    /// <summary>Folder of the backup: one that is empty or not there, or holds an older backup of this server.</summary>
    [Parameter(Mandatory = true, Position = 0)]
    [ValidateNotNullOrEmpty]
    public string Destination { get; set; } = "";

    /// <summary>SQLite file of the server. Default: in the user's data folder.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string? Path { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(LaunchServerInfo)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var database = Path is null ? LocalServers.DefaultPath(Context) : FullPath(Path);
        if (!File.Exists(database))
        {
            throw new LaunchException(
                "DatabaseNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no database {database}. Start-WandbLaunchServer makes one; name another with -Path.",
                database
            );
        }

        var folder = FullPath(Destination);
        if (await ShouldProcessAsync($"{database} to {folder}", "Back up the launch server"))
        {
            Output(await ServerBackups.MakeAsync(Context, database, folder, Token));
        }
    }
}
