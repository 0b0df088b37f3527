using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Starts the launch server of this machine.</summary>
/// <remarks>The server speaks W&amp;B's GraphQL, keeps everything in one SQLite file and a folder of files beside it, and outlives the shell. It listens on 127.0.0.1 unless told otherwise, and answers no request without its API key, which is made at the first start and kept in a file that only you can read. When it runs already, it is shown. A database of an older version is brought to today's at the start, after a copy of it was made beside it, as <c>&lt;path&gt;.before-v&lt;version&gt;</c>, which a warning names; one of a newer version is refused and left as it is. It runs on the .NET that pwsh brings, or on a dotnet of 8 or newer.</remarks>
/// <example><para>Start it</para><code>Start-WandbLaunchServer</code><para>Shows its address; connect with Connect-Wandb -Local.</para></example>
/// <example><para>Keep a project's runs in a file of its own</para><code>Start-WandbLaunchServer -Path ./runs/wandb.db | Stop-WandbLaunchServer</code><para>Each file has its own server, port and key.</para></example>
/// <example><para>Open its page</para><code>Start-WandbLaunchServer -Open</code><para>You are signed in there: the browser is led there by a file that only you can read, with a code that is good once and for two minutes. Where there is no browser a warning has the link. Without -Open the page asks for the key, which is in the file in KeyPath.</para></example>
/// <example><para>Have alerts of runs sent to a chat</para><code>Start-WandbLaunchServer -Path ./runs/wandb.db -AlertWebhook https://chat.example.org/hooks/lab | Stop-WandbLaunchServer</code><para>What wandb.alert says is kept (Get-WandbRunAlert), and posted there as JSON with a text that chats show.</para></example>
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

    /// <summary>Address to which alerts of runs are posted as JSON. It is kept beside the database for the next starts, readable for you only; $null ends it. Default: as it was.</summary>
    [Parameter]
    [AllowNull]
    public Uri? AlertWebhook { get; set; }

    /// <summary>Open its page in the browser, signed in. Where there is no browser a warning has a link that signs in once, for two minutes.</summary>
    [Parameter]
    public SwitchParameter Open { get; set; }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        if (AlertWebhook is not null && !(AlertWebhook.IsAbsoluteUri && AlertWebhook.Scheme is "http" or "https"))
        {
            // The address may be a secret, and stays out of the error.
            throw new LaunchException(
                "AlertWebhookInvalid",
                LaunchErrorCategory.InvalidArgument,
                "-AlertWebhook is no http or https address. Give the whole of it, as the chat or program that takes the alerts shows it.",
                null
            );
        }

        if (ListenAddress is not null && !System.Net.IPAddress.TryParse(ListenAddress, out _))
        {
            throw new LaunchException(
                "ListenAddressInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{ListenAddress}' is not an IP address. Give 127.0.0.1 for this machine alone, or 0.0.0.0 for all who can reach it.",
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
            var server = await LocalServers.StartAsync(
                Context,
                DatabasePath,
                Port,
                ListenAddress,
                Token,
                Warn,
                MyInvocation.BoundParameters.ContainsKey(nameof(AlertWebhook))
                    ? new WandbLaunch.LocalServer.AlertWebhook(AlertWebhook)
                    : null
            );
            Output(server);
            if (Open)
            {
                await OpenAsync(server);
            }
        }
    }

    private async Task OpenAsync(LaunchServerInfo server)
    {
        var page = server.Url + "/";
        if (!await ServerPage.OpenAsync(Context, server, page, Token))
        {
            var link = await ServerPage.TryLinkAsync(server, page, Token);
            Warn($"There is no browser here. This link signs in once, within two minutes: {link ?? page}");
        }
    }
}
