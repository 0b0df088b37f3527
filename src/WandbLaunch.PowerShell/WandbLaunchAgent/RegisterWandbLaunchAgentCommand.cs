using System.Management.Automation;
using System.Net;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Python;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Makes an agent a service of this machine.</summary>
/// <remarks>Writes the agent's settings and a definition for the machine's service manager: a systemd unit on Linux, a launchd property list on macOS, a scheduled task on Windows. It starts at once, at each logon, and after a failure; with -System at each start of the machine, under the account of -Credential or -User. -WhatIf writes nothing and gives exactly what would be written.
///
/// The API key is in none of it: the agent reads it from the netrc of its account (Connect-Wandb -Save), or with -SecretName from the account's SecretManagement vault. A session that is connected with Connect-Wandb -Local makes an agent for that server, whose key is in a file of this user.
///
/// A stop or restart of the service leaves its runs running; the next start goes on with them. Stop-WandbLaunchAgent stops the agent with them, or after them.</remarks>
/// <example><para>See what would be written</para><code>Connect-Wandb -Local; (Register-WandbLaunchAgent -Name gpu -Queue default -MaxJobs 2 -WhatIf).Content</code><para>The definition; ConfigContent has the settings.</para></example>
/// <example><para>All about it, without writing</para><code>Connect-Wandb -Local; Register-WandbLaunchAgent -Name nightly -Queue default -AllowResource local-process -WhatIf | ForEach-Object Activation</code><para>What is called to start it.</para></example>
/// <example><para>For the whole machine, under an account of its own</para><code>Connect-Wandb -Local; Register-WandbLaunchAgent -Name gpu -Queue gpu -System -User launcher -WhatIf | Select-Object Path, Activation</code><para>Leave out -WhatIf as root, or in an elevated shell.</para></example>
[Cmdlet(VerbsLifecycle.Register, "WandbLaunchAgent", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Agents.AgentServiceDefinition")]
public sealed class RegisterWandbLaunchAgentCommand : AgentSettingsCommand
{
    /// <summary>Name of the agent; of the service, too.</summary>
    [Parameter]
    [ValidatePattern("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
    public string Name { get; set; } = "agent";

    /// <summary>For the whole machine, from its start on. Default: for this user.</summary>
    [Parameter]
    public SwitchParameter System { get; set; }

    /// <summary>Account without a password of its own: a user of Linux or macOS; on Windows a built-in, virtual or managed service account (NETWORK SERVICE, NT SERVICE\name, DOMAIN\name$), or a user whose agent needs no network under its own name.</summary>
    [Parameter]
    public string? User { get; set; }

    /// <summary>Account and password, for a scheduled task of Windows.</summary>
    [Parameter]
    [Credential]
    public PSCredential? Credential { get; set; }

    /// <summary>Name of the API key's secret in a SecretManagement vault of the account. The agent runs in pwsh then.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(SecretCompleter))]
    public string? SecretName { get; set; }

    /// <summary>Vault of that secret.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(VaultCompleter))]
    public string? Vault { get; set; }

    /// <inheritdoc/>
    protected override async Task EndAsync()
    {
        if (LacksQueues)
        {
            return;
        }

        var account = Credential?.UserName ?? User;
        if (account is not null && !System)
        {
            throw new LaunchException(
                "AccountWithoutSystem",
                LaunchErrorCategory.InvalidArgument,
                "A service of another account is the machine's: give -System as well.",
                account
            );
        }

        // The session's connection says where to; only what a service can find again goes into the file.
        var given = Given();
        var server = WandbSession.Current;
        var settings = server?.Settings ?? ResolveSettings();
        if (settings.LocalServerPath is { } local)
        {
            given["local_server"] = local;
        }
        else
        {
            given["base_url"] ??= settings.BaseUrl;
        }

        given["entity"] ??= server?.Entity;
        var config = AgentConfig.Resolve(Context.Environment, ConfigPath, given, server?.Settings);
        var service = AgentServices.Here(Context, System);
        var configPath = service.ConfigPath(Name);
        var variables =
            Context.Environment["WANDBLAUNCH_HOME"] is { } home && !System
                ? new Dictionary<string, string> { ["WANDBLAUNCH_HOME"] = home }
                : [];
        var command = SecretName is null
            ? AgentServices.HostCommand(Context, configPath)
            : new OwnCommand(ShellCommand(configPath, settings), new Dictionary<string, string>());
        foreach (var (name, value) in command.Environment)
        {
            variables[name] = value;
        }

        var definition = service.Define(
            new AgentServiceRequest(Name, config, command.Words, account, variables, Credential is not null)
        );
        if (!await ShouldProcessAsync($"{definition.Path} ({definition.Kind})", "Register agent"))
        {
            Output(definition);
            return;
        }

        if (
            SecretName is null
            && settings.LocalServerPath is null
            && account is null
            && Netrc.FindPassword(
                Netrc.FilePath(Context.Environment),
                WandbSettings.MachineOf(config.BaseUrl ?? settings.BaseUrl)
            )
                is null
        )
        {
            Warn(
                $"There is no key for {config.BaseUrl ?? settings.BaseUrl} in netrc, where the agent looks for it. Save it with Connect-Wandb -Save, or use -SecretName."
            );
        }

        try
        {
            if (
                await service.InstallAsync(
                    definition,
                    Credential is null
                        ? null
                        : Secrets.Register(new NetworkCredential("", Credential.Password).Password),
                    Token
                ) is
                { } fault
            )
            {
                Error(
                    new LaunchException(
                        "ServiceNotStarted",
                        LaunchErrorCategory.ResourceUnavailable,
                        $"{definition.Path} is written, but the service manager did not take it: {fault} Once it runs: {string.Join("; ", definition.Activation)}",
                        definition
                    ),
                    definition
                );
            }
        }
        catch (UnauthorizedAccessException e)
        {
            throw new LaunchException(
                "AccessDenied",
                LaunchErrorCategory.PermissionDenied,
                $"{e.Message} A service of the whole machine needs root, or an elevated shell.",
                definition.Path,
                e
            );
        }

        Output(definition);
    }

    // A vault can be read in PowerShell only.
    private string[] ShellCommand(string configPath, WandbSettings settings)
    {
        var module = Path.Combine(Path.GetDirectoryName(OwnProgram.LibraryFolder)!, "WandbLaunch.psd1");
        var connect =
            $"Connect-Wandb {Quote(settings.BaseUrl)} -SecretName {Quote(SecretName!)}{(Vault is null ? "" : " -Vault " + Quote(Vault))}";

        // A scheduled task has no variables of its own.
        var set =
            global::System.OperatingSystem.IsWindows() && !System && Context.Environment["WANDBLAUNCH_HOME"] is { } home
                ? $"$env:WANDBLAUNCH_HOME = {Quote(home)}; "
                : "";
        return
        [
            .. FindPwsh(),
            "-NoProfile",
            "-NonInteractive",
            "-Command",
            $"{set}$ErrorActionPreference = 'Stop'; Import-Module {Quote(module)}; $null = {connect}; Start-WandbLaunchAgent -Config {Quote(configPath)} -Quiet; exit $LASTEXITCODE",
        ];

        static string Quote(string text) => "'" + text.Replace("'", "''", StringComparison.Ordinal) + "'";
    }

    // The pwsh of this session, else the one of PATH. As a .NET tool it is a library that dotnet runs.
    private string[] FindPwsh()
    {
        var own = global::System.Environment.ProcessPath ?? "";
        var library = Path.Combine(Path.GetDirectoryName(typeof(PSObject).Assembly.Location) ?? "", "pwsh.dll");
        return Path.GetFileNameWithoutExtension(own) switch
        {
            "pwsh" => [own],
            "dotnet" when File.Exists(library) => [own, library],
            _ =>
            [
                VirtualEnvironment.OnPath("pwsh")
                    ?? throw new LaunchException(
                        "PwshNotFound",
                        LaunchErrorCategory.ResourceUnavailable,
                        "A secret vault is read by pwsh, and there is none on PATH. Install PowerShell, or keep the key in netrc.",
                        SecretName
                    ),
            ],
        };
    }
}
