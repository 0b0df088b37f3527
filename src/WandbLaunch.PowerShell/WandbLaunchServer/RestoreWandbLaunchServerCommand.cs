using System.Management.Automation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Restores the launch server of this machine from a backup.</summary>
/// <remarks>Every file is checked against its digest before anything that is there is touched. A server that runs is never written over; data that is there only with -Force, and is kept beside it then, as &lt;path&gt;.before-restore. On another machine the server has a key of its own; users go on with theirs.</remarks>
/// <example><para>Restore to another place, and look</para><code>Start-WandbLaunchServer | Backup-WandbLaunchServer -Destination ./backup2; Restore-WandbLaunchServer ./backup2 -Path ./restored/wandb.db; Start-WandbLaunchServer ./restored/wandb.db | Stop-WandbLaunchServer</code><para>The server that runs is not touched.</para></example>
/// <example><para>Go back to the backup</para><code>$lab = Start-WandbLaunchServer ./runs/back.db; $lab | Backup-WandbLaunchServer ./backup3; Stop-WandbLaunchServer $lab.Path; Restore-WandbLaunchServer ./backup3 -Path $lab.Path -Force -Confirm:$false</code><para>What was there is kept beside it.</para></example>
/// <example><para>What would be written over?</para><code>Start-WandbLaunchServer | Backup-WandbLaunchServer ./backup4; Restore-WandbLaunchServer ./backup4 -Path ./restored/other.db -WhatIf</code><para>Names folder and database.</para></example>
[Cmdlet(VerbsData.Restore, "WandbLaunchServer", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Medium)]
[OutputType("WandbLaunch.LocalServer.LaunchServerBackup")]
public sealed class RestoreWandbLaunchServerCommand : PipelineCommand
{
    /// <summary>Folder of the backup.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipelineByPropertyName = true)]
    [Alias("BackupPath")]
    [ValidateNotNullOrEmpty]
    public string Source { get; set; } = "";

    /// <summary>SQLite file to restore to. Default: in the user's data folder.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string? Path { get; set; }

    /// <summary>Also where there is a database: it is kept beside it.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(LaunchServerBackup)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var database = Path is null ? LocalServers.DefaultPath(Context) : FullPath(Path);
        var folder = FullPath(Source);
        if (await ShouldProcessAsync($"{folder} to {database}", "Restore the launch server"))
        {
            Output(await ServerBackups.RestoreAsync(Context, folder, database, Force, Token));
        }
    }
}
