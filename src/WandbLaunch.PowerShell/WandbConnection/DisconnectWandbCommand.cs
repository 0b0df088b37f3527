using System.Management.Automation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Ends the session's connection.</summary>
/// <remarks>Forgets the connection and its key in this session. With -Forget the key of its host is removed from netrc too; other entries stay as they are.</remarks>
/// <example><para>Disconnect</para><code>Disconnect-Wandb</code><para>The next command that needs a server connects again by the settings.</para></example>
/// <example><para>See what forgetting a saved key would do</para><code>Connect-Wandb -Local; Disconnect-Wandb -Forget -WhatIf</code><para>Names the file and the entry that would be removed.</para></example>
/// <example><para>Another server for a moment, then back</para><code>Connect-Wandb -Local -Project demo; Get-WandbRun; Disconnect-Wandb; Get-WandbConnection</code><para>Get-WandbConnection writes nothing: there is no connection.</para></example>
[Cmdlet(VerbsCommunications.Disconnect, "Wandb", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbConnection")]
public sealed class DisconnectWandbCommand : AsyncPSCmdlet
{
    /// <summary>Remove the saved key of this host from netrc, too.</summary>
    [Parameter]
    public SwitchParameter Forget { get; set; }

    /// <summary>Write the connection that was ended; it can be made again from its address.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    protected override async Task EndAsync()
    {
        var address = WandbSession.Current?.BaseUrl ?? ResolveSettings().BaseUrl;
        if (Forget)
        {
            var file = Netrc.FilePath(Context.Environment);
            var machine = WandbSettings.MachineOf(address);
            if (await ShouldProcessAsync(file, $"Remove the API key for {machine}") && !Netrc.Remove(file, machine))
            {
                Verbose($"{file} has no entry for {machine}");
            }
        }

        if (WandbSession.Current is { } connection && await ShouldProcessAsync(address, "Disconnect"))
        {
            WandbSession.Set(null);
            if (PassThru)
            {
                Output(connection);
            }
        }
    }
}
