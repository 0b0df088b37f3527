using System.Management.Automation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands for the local launch server.</summary>
public abstract class LaunchServerCommand : AsyncPSCmdlet
{
    /// <summary>SQLite file with the server's data. Default: in the user's data folder.</summary>
    [Parameter(Position = 0, ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string? Path { get; set; }

    internal string DatabasePath => Path is null ? LocalServers.DefaultPath : FullPath(Path);
}

/// <summary>Starts the launch server of this machine.</summary>
/// <remarks>The server speaks W&amp;B's GraphQL, keeps everything in one SQLite file and a folder of files beside it, and outlives the shell. It listens on 127.0.0.1 unless told otherwise, and answers no request without its API key, which is made at the first start and kept in a file that only you can read. When it runs already, it is shown. Needs the ASP.NET Core runtime 8 or newer.</remarks>
/// <example><para>Start it</para><code>Start-WandbLaunchServer</code><para>Shows its address; connect with Connect-Wandb -Local.</para></example>
/// <example><para>Keep a project's runs in a file of its own</para><code>Start-WandbLaunchServer -Path ./runs/wandb.db | Stop-WandbLaunchServer</code><para>Each file has its own server, port and key.</para></example>
[Cmdlet(VerbsLifecycle.Start, "WandbLaunchServer", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.LocalServer.LaunchServerInfo")]
public sealed class StartWandbLaunchServerCommand : LaunchServerCommand
{
    /// <summary>TCP port. Default: the last one where it is free, else any free one.</summary>
    [Parameter]
    [ValidateRange(1, 65535)]
    public int? Port { get; set; }

    /// <summary>IP address to listen on. Anything but 127.0.0.1 makes the server reachable for others, unencrypted.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? ListenAddress { get; set; }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        if (ListenAddress is not null && !System.Net.IPAddress.TryParse(ListenAddress, out _))
        {
            throw new LaunchException(
                "ListenAddressInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{ListenAddress}' is not an IP address.",
                ListenAddress
            );
        }

        if (ListenAddress is not null && !System.Net.IPAddress.IsLoopback(System.Net.IPAddress.Parse(ListenAddress)))
        {
            Warn(
                $"The server will be reachable from other machines at {ListenAddress}, over unencrypted HTTP. Put a TLS proxy before it."
            );
        }

        if (await ShouldProcessAsync(DatabasePath, "Start the launch server"))
        {
            Output(await LocalServers.StartAsync(DatabasePath, Port, ListenAddress, Token));
        }
    }
}

/// <summary>Stops the launch server of this machine.</summary>
/// <remarks>Requests that are under way are finished. The data stays; Start-WandbLaunchServer goes on with it, on the same port where that is free.</remarks>
/// <example><para>Stop it</para><code>Start-WandbLaunchServer; Stop-WandbLaunchServer</code><para>Runs and files stay on disk.</para></example>
/// <example><para>See what would be stopped</para><code>Start-WandbLaunchServer | Stop-WandbLaunchServer -WhatIf</code><para>Names the address and file.</para></example>
[Cmdlet(VerbsLifecycle.Stop, "WandbLaunchServer", SupportsShouldProcess = true)]
public sealed class StopWandbLaunchServerCommand : LaunchServerCommand
{
    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        if (await LocalServers.FindAsync(DatabasePath, Token) is not { Running: true } server)
        {
            throw new LaunchException(
                "ServerNotRunning",
                LaunchErrorCategory.ObjectNotFound,
                $"No launch server runs for {DatabasePath}.",
                DatabasePath
            );
        }

        if (await ShouldProcessAsync($"{server.Url} ({server.Path})", "Stop the launch server"))
        {
            await LocalServers.StopAsync(server, Token);
        }
    }
}

/// <summary>Shows the launch server of this machine.</summary>
/// <remarks>Shows where the server listens, where its data and key are, and whether it answers. Writes nothing when it was never started.</remarks>
/// <example><para>Is it running?</para><code>Get-WandbLaunchServer</code><para>Running is true when it answers.</para></example>
/// <example><para>Point the Python SDK at it</para><code>Start-WandbLaunchServer | ForEach-Object { $env:WANDB_BASE_URL = $_.Url }; $env:WANDB_BASE_URL = $null</code><para>The SDK also needs WANDB_API_KEY: the content of the file in KeyPath.</para></example>
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
