using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Stops the launch server of this machine.</summary>
/// <remarks>Requests that are under way are finished. The data stays; Start-WandbLaunchServer goes on with it, on the same port where that is free.</remarks>
/// <example><para>Stop it</para><code>Start-WandbLaunchServer; Stop-WandbLaunchServer</code><para>Runs and files stay on disk.</para></example>
/// <example><para>See what would be stopped</para><code>Start-WandbLaunchServer | Stop-WandbLaunchServer -WhatIf</code><para>Names the address and file.</para></example>
/// <example><para>Only if it runs</para><code>Get-WandbLaunchServer | Where-Object Running | Stop-WandbLaunchServer</code><para>For scripts: no error where nothing runs.</para></example>
[Cmdlet(VerbsLifecycle.Stop, "WandbLaunchServer", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.LocalServer.LaunchServerInfo")]
public sealed class StopWandbLaunchServerCommand : LaunchServerCommand
{
    /// <summary>Write the server as it is then.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        if (await LocalServers.FindAsync(DatabasePath, Token) is not { Running: true } server)
        {
            throw new LaunchException(
                "ServerNotRunning",
                LaunchErrorCategory.ObjectNotFound,
                $"No launch server runs for {DatabasePath}. See Get-WandbLaunchServer.",
                DatabasePath
            );
        }

        if (await ShouldProcessAsync($"{server.Url} ({server.Path})", "Stop the launch server"))
        {
            await LocalServers.StopAsync(server, Token);
            if (PassThru && await LocalServers.FindAsync(DatabasePath, Token) is { } stopped)
            {
                Output(stopped);
            }
        }
    }
}
