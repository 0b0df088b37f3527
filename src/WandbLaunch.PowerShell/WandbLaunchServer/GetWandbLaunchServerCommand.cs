using System.Management.Automation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Shows the launch server of this machine.</summary>
/// <remarks>Shows where the server listens, where its data and key are, and whether it answers. Writes nothing when it was never started.</remarks>
/// <example><para>Is it running?</para><code>Get-WandbLaunchServer</code><para>Running is true when it answers.</para></example>
/// <example><para>Point the Python SDK at it</para><code>Start-WandbLaunchServer | ForEach-Object { $env:WANDB_BASE_URL = $_.Url }; $env:WANDB_BASE_URL = $null</code><para>The SDK also needs WANDB_API_KEY: the content of the file in KeyPath.</para></example>
/// <example><para>Every server of a folder</para><code>Get-ChildItem . -Filter *.db | ForEach-Object { Get-WandbLaunchServer $_.FullName } | Select-Object Path, Running, Url</code><para>Each database has one server.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunchServer")]
[OutputType("WandbLaunch.LocalServer.LaunchServerInfo")]
public sealed class GetWandbLaunchServerCommand : LaunchServerCommand
{
    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        if (await LocalServers.FindAsync(DatabasePath, Token) is { } server)
        {
            Output(server);
        }
    }
}
