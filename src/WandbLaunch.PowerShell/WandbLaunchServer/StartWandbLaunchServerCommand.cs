using System.Management.Automation;
using System.Security;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Starts the launch server of this machine.</summary>
/// <remarks>The server speaks W&amp;B's GraphQL, keeps everything in one SQLite file and a folder of files beside it, and outlives the shell. It listens on 127.0.0.1 unless told otherwise, for others only with a certificate (or -AllowInsecure), and answers no request without its API key, which is made at the first start and kept in a file that only you can read. When it runs already, it is shown. A database of an older version is brought to today's at the start, after a copy of it was made beside it, as <c>&lt;path&gt;.before-v&lt;version&gt;</c>, which a warning names; one of a newer version is refused and left as it is. It runs on the .NET that pwsh brings, or on a dotnet of 8 or newer.</remarks>
/// <example><para>Start it</para><code>Start-WandbLaunchServer</code><para>Shows its address; connect with Connect-Wandb -Local.</para></example>
/// <example><para>Keep a project's runs in a file of its own</para><code>Start-WandbLaunchServer -Path ./runs/wandb.db | Stop-WandbLaunchServer</code><para>Each file has its own server, port and key.</para></example>
/// <example><para>Open its page</para><code>Start-WandbLaunchServer -Open</code><para>You are signed in there: the browser is led there by a file that only you can read, with a code that is good once and for two minutes. Where there is no browser a warning has the link. Without -Open the page asks for the key, which is in the file in KeyPath.</para></example>
/// <example><para>For other machines, with a certificate</para><code>Start-WandbLaunchServer -Path ./runs/lab.db -ListenAddress 0.0.0.0 -CertificatePath lab.pfx -CertificatePassword (Get-Content lab.password | ConvertTo-SecureString -AsPlainText -Force) | Stop-WandbLaunchServer</code><para>SecureUrl is for others; programs of this machine use Url, on 127.0.0.1. A certificate that is renewed in its place is taken without a new start.</para></example>
/// <example><para>Behind a proxy of this machine that does TLS</para><code>Start-WandbLaunchServer -Path ./runs/proxied.db -TrustedProxy 127.0.0.1 -PublicUrl https://lab.example.org | Stop-WandbLaunchServer</code><para>What the proxy says of where a request came from is taken from it alone.</para></example>
/// <example><para>Have alerts of runs sent to a chat</para><code>Start-WandbLaunchServer -Path ./runs/wandb.db -AlertWebhook https://chat.example.org/hooks/lab | Stop-WandbLaunchServer</code><para>What wandb.alert says is kept (Get-WandbRunAlert), and posted there as JSON with a text that chats show.</para></example>
[Cmdlet(VerbsLifecycle.Start, "WandbLaunchServer", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.LocalServer.LaunchServerInfo")]
public sealed class StartWandbLaunchServerCommand : LaunchServerCommand
{
    /// <summary>TCP port. Default: the last one where it is free, else any free one.</summary>
    [Parameter]
    [ValidateRange(1, 65535)]
    public int? Port { get; set; }

    /// <summary>IP address to listen on. Anything but 127.0.0.1 makes the server reachable for others, and needs -CertificatePath or -AllowInsecure. Default: as it was.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? ListenAddress { get; set; }

    /// <summary>Certificate for TLS: a PFX file, or PEM with its chain. Programs of this machine go on to use Url, on 127.0.0.1. '' ends it. Default: as it was.</summary>
    [Parameter]
    [AllowEmptyString]
    [AllowNull]
    public string? CertificatePath { get; set; }

    /// <summary>Private key of a PEM certificate, where it is in a file of its own.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? CertificateKeyPath { get; set; }

    /// <summary>Password of the PFX file or private key. It is kept beside the database for the next starts, readable for you only.</summary>
    [Parameter]
    public SecureString? CertificatePassword { get; set; }

    /// <summary>Let others reach it without encryption: in a network where nobody listens, or behind a proxy on another machine. -AllowInsecure:$false ends it.</summary>
    [Parameter]
    public SwitchParameter AllowInsecure { get; set; }

    /// <summary>Addresses, or networks as 10.0.0.0/8, of proxies whose X-Forwarded headers are taken. @() for none. Default: as it was.</summary>
    [Parameter]
    [AllowEmptyCollection]
    public string[]? TrustedProxy { get; set; }

    /// <summary>Address by which others know the server, where that is a proxy's. '' ends it. Default: as it was.</summary>
    [Parameter]
    [AllowEmptyString]
    [AllowNull]
    public string? PublicUrl { get; set; }

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

        var network = Network();
        if (
            AllowInsecure
            && network.ListenAddress is not null
            && !System.Net.IPAddress.IsLoopback(System.Net.IPAddress.Parse(network.ListenAddress))
            && string.IsNullOrEmpty(network.CertificatePath)
        )
        {
            Warn(
                $"The server will be reachable from other machines at {ListenAddress}, over unencrypted HTTP: whoever listens on the way has the keys."
            );
        }

        if (await ShouldProcessAsync(DatabasePath, "Start the launch server"))
        {
            var server = await LocalServers.StartAsync(
                Context,
                DatabasePath,
                network,
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

    private ServerNetwork Network()
    {
        foreach (var proxy in TrustedProxy ?? [])
        {
            if (!System.Net.IPAddress.TryParse(proxy, out _) && !System.Net.IPNetwork.TryParse(proxy, out _))
            {
                throw new LaunchException(
                    "TrustedProxyInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"'{proxy}' is no IP address and no network such as 10.0.0.0/8, whose lowest address stands before the slash.",
                    proxy
                );
            }
        }

        if (
            PublicUrl is { Length: > 0 }
            && !(Uri.TryCreate(PublicUrl, UriKind.Absolute, out var url) && url.Scheme is "http" or "https")
        )
        {
            throw new LaunchException(
                "PublicUrlInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{PublicUrl}' is no http or https address. Give the whole of it, as https://lab.example.org.",
                PublicUrl
            );
        }

        var given = MyInvocation.BoundParameters;
        return new ServerNetwork
        {
            Port = Port,
            ListenAddress = ListenAddress,
            CertificatePath =
                CertificatePath is { Length: > 0 } ? FullPath(CertificatePath)
                : given.ContainsKey(nameof(CertificatePath)) ? ""
                : null,
            CertificateKeyPath = CertificateKeyPath is null ? null : FullPath(CertificateKeyPath),
            CertificatePassword = CertificatePassword is null
                ? null
                : Secrets.Register(new System.Net.NetworkCredential("", CertificatePassword).Password),
            AllowInsecure = given.ContainsKey(nameof(AllowInsecure)) ? AllowInsecure.IsPresent : null,
            TrustedProxies = TrustedProxy,
            PublicUrl = given.ContainsKey(nameof(PublicUrl)) ? PublicUrl ?? "" : null,
        };
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
