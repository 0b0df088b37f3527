using System.Management.Automation;
using System.Net;
using System.Security;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Connects this session to a W&amp;B server.</summary>
/// <remarks>The key is looked for in this order: -ApiKey or -Credential, -SecretName (Microsoft.PowerShell.SecretManagement), the variable WANDB_API_KEY, the netrc file, the settings files. Nothing is written unless -Save is given, which keeps the key in netrc as the Python SDK does, readable for you alone. Commands that need a server connect by themselves with the same rules when there is no connection yet. With -Local the launch server of this machine is used, and started where needed.</remarks>
/// <example><para>Use the server of this machine</para><code>Connect-Wandb -Local</code><para>Starts the local launch server if it does not run yet, and connects with its own key.</para></example>
/// <example><para>Connect with the key that is saved or in the environment</para><code>Connect-Wandb -BaseUrl https://api.wandb.ai</code><para>Takes the key from WANDB_API_KEY or from netrc.</para></example>
/// <example><para>Type a key once and keep it</para><code>Connect-Wandb -BaseUrl https://api.wandb.ai -ApiKey (Read-Host -AsSecureString 'API key') -Save</code><para>The key is checked first, then written to netrc. Other entries stay as they are.</para></example>
/// <example><para>Choose the entity and project that commands use by default</para><code>Connect-Wandb -Local -Entity local -Project demo</code><para>Get-WandbRun needs no -Project after this.</para></example>
[Cmdlet(VerbsCommunications.Connect, "Wandb", DefaultParameterSetName = "Key", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbConnection")]
public sealed class ConnectWandbCommand : PipelineCommand
{
    /// <summary>Address of the API, such as https://api.wandb.ai. Default: WANDB_BASE_URL, the settings files, then https://api.wandb.ai.</summary>
    [Parameter(Position = 0, ParameterSetName = "Key", ValueFromPipelineByPropertyName = true)]
    [Parameter(Position = 0, ParameterSetName = "Credential", ValueFromPipelineByPropertyName = true)]
    [Parameter(Position = 0, ParameterSetName = "Secret", ValueFromPipelineByPropertyName = true)]
    [Alias("Url", "Host")]
    [ValidateNotNullOrEmpty]
    [ArgumentCompleter(typeof(ServerCompleter))]
    public string? BaseUrl { get; set; }

    /// <summary>The API key.</summary>
    [Parameter(ParameterSetName = "Key")]
    public SecureString? ApiKey { get; set; }

    /// <summary>The API key as the password of a credential; the user name does not matter.</summary>
    [Parameter(Mandatory = true, ParameterSetName = "Credential")]
    public PSCredential? Credential { get; set; }

    /// <summary>Name of a secret in Microsoft.PowerShell.SecretManagement that holds the key.</summary>
    [Parameter(Mandatory = true, ParameterSetName = "Secret")]
    [ValidateNotNullOrEmpty]
    [ArgumentCompleter(typeof(SecretCompleter))]
    public string? SecretName { get; set; }

    /// <summary>Vault of the secret. Default: all registered vaults.</summary>
    [Parameter(ParameterSetName = "Secret")]
    [ArgumentCompleter(typeof(VaultCompleter))]
    public string? Vault { get; set; }

    /// <summary>Use the launch server of this machine.</summary>
    [Parameter(Mandatory = true, ParameterSetName = "Local")]
    public SwitchParameter Local { get; set; }

    /// <summary>Database file of the local server. Default: in the user's data folder. One that is not there is made after a question, or with -Force.</summary>
    [Parameter(ParameterSetName = "Local")]
    [ValidateNotNullOrEmpty]
    public string? Path { get; set; }

    /// <summary>Make the database of -Path without asking where there is none.</summary>
    [Parameter(ParameterSetName = "Local")]
    public SwitchParameter Force { get; set; }

    /// <summary>Entity that is used where none is given. Default: WANDB_ENTITY, the settings files, then the user's own.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Project that is used where none is given. Default: WANDB_PROJECT, then the settings files.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Keep the key in netrc for later sessions and for the Python SDK.</summary>
    [Parameter]
    public SwitchParameter Save { get; set; }

    private string? _secret;

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(LaunchServerInfo), nameof(WandbConnection)];

    /// <inheritdoc/>
    protected override async Task BeginAsync()
    {
        if (ParameterSetName == "Secret")
        {
            // The vault's cmdlet must run on the pipeline's thread.
            _secret = await AskAsync(ReadVault);
        }
    }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        WandbSettings settings;
        // A server of this machine comes with its key.
        var path = Kind == nameof(LaunchServerInfo) ? Text("Path") : Path;
        if (Local || Kind == nameof(LaunchServerInfo))
        {
            if (path is not null && !Force && !await MayMakeAsync(FullPath(path)))
            {
                return;
            }

            var server = await LocalServers.StartAsync(
                Context,
                path is null ? LocalServers.DefaultPath(Context) : FullPath(path),
                Token,
                Warn
            );
            settings = ResolveSettings(server.Url, LocalServers.ReadKey(server.Path), Entity, Project) with
            {
                ApiKeySource = SettingSource.LocalServer,
                LocalServerPath = server.Path,
            };
        }
        else
        {
            var key = _secret ?? Plain(Credential?.Password ?? ApiKey);
            settings = ResolveSettings(BaseUrl, key, Entity, Project);
            settings = _secret is not null ? settings with { ApiKeySource = SettingSource.SecretManagement } : settings;
        }

        var connection = await WandbConnection.OpenAsync(settings, text => Verbose(text), Token);
        WandbSession.Set(connection);
        if (Save)
        {
            var file = Netrc.FilePath(Context.Environment);
            var machine = WandbSettings.MachineOf(settings.BaseUrl);
            if (await ShouldProcessAsync(file, $"Save the API key for {machine}"))
            {
                Netrc.Save(file, machine, "user", connection.ApiKey!);
            }
        }

        Output(connection);
    }

    // A path that was mistyped must not become a new, empty server.
    private async Task<bool> MayMakeAsync(string path) =>
        File.Exists(path)
        || await ContinueAsync(
            $"There is no database at {path}. Make one, and start a launch server for it?",
            "New launch server",
            () =>
                new LaunchException(
                    "DatabaseNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"There is no database of a launch server at {path}. Check the path, or make one with -Force.",
                    path
                )
        );

    private static string? Plain(SecureString? secret) =>
        secret is null ? null : new NetworkCredential("", secret).Password;

    private string ReadVault()
    {
        var command =
            SessionState.InvokeCommand.GetCommand("Get-Secret", CommandTypes.Cmdlet | CommandTypes.Function)
            ?? throw new LaunchException(
                "SecretManagementMissing",
                LaunchErrorCategory.ResourceUnavailable,
                "Get-Secret is not there: install Microsoft.PowerShell.SecretManagement and register a vault, or use -ApiKey.",
                SecretName
            );
        using var shell = System.Management.Automation.PowerShell.Create(RunspaceMode.CurrentRunspace);
        shell.AddCommand(command).AddParameter("Name", SecretName);
        if (Vault is not null)
        {
            shell.AddParameter("Vault", Vault);
        }

        try
        {
            return shell.Invoke().FirstOrDefault()?.BaseObject switch
            {
                SecureString secure => Plain(secure)!,
                PSCredential credential => Plain(credential.Password)!,
                string text => text,
                _ => throw new LaunchException(
                    "SecretNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"There is no secret '{SecretName}' that holds a text. See Get-SecretInfo, or save it with Set-Secret.",
                    SecretName
                ),
            };
        }
        catch (RuntimeException e) when (e is not PipelineStoppedException)
        {
            throw new LaunchException(
                "SecretNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"The secret '{SecretName}' cannot be read: {e.Message}",
                SecretName,
                e
            );
        }
    }
}
