using System.Globalization;
using System.Runtime.Versioning;
using System.Security.AccessControl;
using System.Security.Principal;
using System.Text;
using System.Text.Json.Nodes;
using System.Xml.Linq;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.Agents;

/// <summary>Which service manager a machine has.</summary>
public enum AgentServiceKind
{
    /// <summary>A unit of systemd, on Linux.</summary>
    SystemdUnit,

    /// <summary>A property list of launchd, on macOS.</summary>
    LaunchdPropertyList,

    /// <summary>A task of the Windows Task Scheduler.</summary>
    ScheduledTask,
}

/// <summary>An agent as a service: what is written where, and what is called to start it.</summary>
public sealed record AgentServiceDefinition
{
    /// <summary>Name of the agent.</summary>
    public required string Name { get; init; }

    /// <summary>What manages it.</summary>
    public required AgentServiceKind Kind { get; init; }

    /// <summary>File of the definition, or the path of the scheduled task.</summary>
    public required string Path { get; init; }

    /// <summary>The definition, as it is written.</summary>
    public required string Content { get; init; }

    /// <summary>File with the agent's settings.</summary>
    public required string ConfigPath { get; init; }

    /// <summary>The settings, as they are written; addresses and variables that hold secrets are masked here.</summary>
    public required string ConfigContent { get; init; }

    /// <summary>Account that it runs under; empty for the current user.</summary>
    public string? Account { get; init; }

    /// <summary>Commands that make the service manager take it.</summary>
    public IReadOnlyList<string> Activation { get; init; } = [];

    /// <summary>Commands that make it let go.</summary>
    public IReadOnlyList<string> Deactivation { get; init; } = [];

    internal IReadOnlyList<string[]> ActivationWords { get; init; } = [];

    internal IReadOnlyList<string[]> DeactivationWords { get; init; } = [];

    internal string ConfigText { get; init; } = "";

    internal bool MachineWide { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Path;
}

/// <summary>Where the parts of a service are, on each platform; tests ask for another than their own.</summary>
internal sealed record ServicePlace(AgentServiceKind Kind, string Home, string DataFolder, bool MachineWide)
{
    internal static ServicePlace Here(bool machineWide) =>
        new(
            OperatingSystem.IsWindows() ? AgentServiceKind.ScheduledTask
                : OperatingSystem.IsMacOS() ? AgentServiceKind.LaunchdPropertyList
                : AgentServiceKind.SystemdUnit,
            LaunchEnvironment.Current.Home,
            LaunchEnvironment.Current.DataFolder,
            machineWide
        );

    internal string ConfigPath(string name) =>
        !MachineWide ? Path.Combine(DataFolder, "agents", name, "launch-config.yaml")
        : Kind == AgentServiceKind.ScheduledTask
            ? Path.Combine(
                Environment.GetFolderPath(Environment.SpecialFolder.CommonApplicationData),
                "WandbLaunch",
                name + ".yaml"
            )
        : $"/etc/wandblaunch/{name}.yaml";

    internal string DefinitionPath(string name) =>
        Kind switch
        {
            AgentServiceKind.ScheduledTask => $@"\WandbLaunch\{name}",
            AgentServiceKind.LaunchdPropertyList => (
                MachineWide ? "/Library/LaunchDaemons" : Path.Combine(Home, "Library", "LaunchAgents")
            ) + $"/{AgentServices.Label(name)}.plist",
            _ => (MachineWide ? "/etc/systemd/system" : Path.Combine(Home, ".config", "systemd", "user"))
                + $"/{AgentServices.Unit(name)}",
        };
}

/// <summary>Writes, starts and removes the services of agents. Keys are in none of it: the account's netrc or its secret vault has them.</summary>
internal static class AgentServices
{
    internal static string Unit(string name) => $"wandb-launch-agent-{name}.service";

    internal static string Label(string name) => "ai.wandb.launch.agent." + name;

    /// <summary>Makes the definition; writes nothing.</summary>
    /// <param name="place">Where the parts go.</param>
    /// <param name="name">Name of the agent.</param>
    /// <param name="config">Its settings.</param>
    /// <param name="command">Words of the program that is the agent.</param>
    /// <param name="account">Account that it runs under; null is the current user.</param>
    /// <param name="variables">Environment of the service; no secrets.</param>
    internal static AgentServiceDefinition Define(
        ServicePlace place,
        string name,
        AgentConfig config,
        IReadOnlyList<string> command,
        string? account,
        IReadOnlyDictionary<string, string> variables
    )
    {
        var source = (JsonObject)config.Source.DeepClone();
        source["name"] = name;
        var configPath = place.ConfigPath(name);
        var about = $"W&B Launch agent {name} ({string.Join(", ", config.Queues)})";
        var (content, on, off) = place.Kind switch
        {
            AgentServiceKind.ScheduledTask => (
                Task(about, command, account, place.MachineWide),
                Array.Empty<string[]>(),
                Array.Empty<string[]>()
            ),
            AgentServiceKind.LaunchdPropertyList => (
                PropertyList(name, command, account, variables, Path.Combine(place.DataFolder, "agents", name)),
                [Launchctl("bootstrap", name, true)],
                [Launchctl("bootout", name, false)]
            ),
            _ => (
                SystemdUnit(about, command, place.MachineWide ? account : null, variables, place.MachineWide),
                [Systemctl("daemon-reload"), Systemctl("enable", Unit(name)), Systemctl("restart", Unit(name))],
                [Systemctl("disable", Unit(name))]
            ),
        };
        return new AgentServiceDefinition
        {
            Name = name,
            Kind = place.Kind,
            Path = place.DefinitionPath(name),
            Content = content,
            ConfigPath = configPath,
            ConfigText = source.ToJsonString(LaunchStore.Json),
            ConfigContent = Masked(source).ToJsonString(LaunchStore.Json),
            Account = account,
            MachineWide = place.MachineWide,
            ActivationWords = on,
            DeactivationWords = off,
            Activation =
                place.Kind == AgentServiceKind.ScheduledTask
                    ? [$"register the task {place.DefinitionPath(name)} and start it"]
                    : [.. on.Select(CommandLine.Show)],
            Deactivation =
                place.Kind == AgentServiceKind.ScheduledTask
                    ? [$"delete the task {place.DefinitionPath(name)}"]
                    : [.. off.Select(CommandLine.Show)],
        };

        string[] Systemctl(params string[] words) =>
            place.MachineWide ? ["systemctl", .. words] : ["systemctl", "--user", .. words];

        string[] Launchctl(string verb, string agent, bool file)
        {
            var domain = place.MachineWide ? "system" : "gui/" + UserId();
            return file
                ? ["launchctl", verb, domain, place.DefinitionPath(agent)]
                : ["launchctl", verb, domain + "/" + Label(agent)];
        }
    }

    /// <summary>The agent's program without a shell: dotnet and the host of the module.</summary>
    internal static IReadOnlyList<string> HostCommand(string configPath) =>
        [HostProcess.FindDotnet(), HostProcess.FindProgram("WandbLaunch.Host"), "agent", configPath];

    /// <summary>Writes the settings and the definition, and has the service manager start it. What the manager says against it comes back.</summary>
    internal static async Task<string?> InstallAsync(
        AgentServiceDefinition definition,
        string? password,
        CancellationToken token
    )
    {
        FileModes.WritePrivate(definition.ConfigPath, definition.ConfigText);
        if (definition.Account is { } account)
        {
            await LetReadAsync(definition.ConfigPath, account, token);
        }

        if (definition.Kind == AgentServiceKind.ScheduledTask)
        {
            if (OperatingSystem.IsWindows())
            {
                WindowsTasks.Register(definition.Path, definition.Content, definition.Account, password);
            }

            return null;
        }

        FileModes.CreatePrivateFolder(Path.GetDirectoryName(definition.Path)!);
        await File.WriteAllTextAsync(definition.Path, definition.Content, token);
        return await CallAsync(definition.ActivationWords, token);
    }

    /// <summary>Takes the definition away. The agent itself is asked to end after its runs.</summary>
    internal static async Task<string?> UninstallAsync(AgentServiceDefinition definition, CancellationToken token)
    {
        var folder = AgentStore.Default.FolderOf(definition.Name);
        if (AgentStore.Load(folder) is { State: not ("stopped" or "lost") })
        {
            AgentStore.AskStop(folder, true);
        }

        string? fault = null;
        if (definition.Kind == AgentServiceKind.ScheduledTask)
        {
            if (OperatingSystem.IsWindows())
            {
                WindowsTasks.Delete(definition.Path);
            }
        }
        else
        {
            fault = await CallAsync(definition.DeactivationWords, token);
            File.Delete(definition.Path);
        }

        File.Delete(definition.ConfigPath);
        return fault;
    }

    internal static bool Exists(ServicePlace place, string name) =>
        place.Kind != AgentServiceKind.ScheduledTask
            ? File.Exists(place.DefinitionPath(name))
            : OperatingSystem.IsWindows() && WindowsTasks.Exists(place.DefinitionPath(name));

    private static string SystemdUnit(
        string about,
        IReadOnlyList<string> command,
        string? account,
        IReadOnlyDictionary<string, string> variables,
        bool machineWide
    )
    {
        var text = new StringBuilder();
        text.Append(
            CultureInfo.InvariantCulture,
            $"# Made by Register-WandbLaunchAgent.\n[Unit]\nDescription={about.Replace("%", "%%", StringComparison.Ordinal)}\n"
        );
        text.Append(machineWide ? "Wants=network-online.target\nAfter=network-online.target docker.service\n" : "");
        text.Append("StartLimitIntervalSec=0\n\n[Service]\nType=exec\n");
        text.Append(CultureInfo.InvariantCulture, $"ExecStart={string.Join(' ', command.Select(Quote))}\n");
        foreach (var (name, value) in variables)
        {
            text.Append(CultureInfo.InvariantCulture, $"Environment={Quote($"{name}={value}")}\n");
        }

        text.Append(account is null ? "" : $"User={account}\n");

        // 2 to 4 say how it ended, not that it broke. The runs have watchers of their own, and outlive a restart.
        text.Append(
            "Restart=on-failure\nRestartSec=10\nSuccessExitStatus=2 3 4\nKillMode=process\nTimeoutStopSec=30\nUMask=0077\n\n"
        );
        text.Append(
            CultureInfo.InvariantCulture,
            $"[Install]\nWantedBy={(machineWide ? "multi-user.target" : "default.target")}\n"
        );
        return text.ToString();

        // systemd.syntax(7) and systemd.service(5): quotes, backslashes, specifiers and variables.
        static string Quote(string word) =>
            "\""
            + word.Replace("\\", "\\\\", StringComparison.Ordinal)
                .Replace("\"", "\\\"", StringComparison.Ordinal)
                .Replace("%", "%%", StringComparison.Ordinal)
                .Replace("$", "$$", StringComparison.Ordinal)
            + "\"";
    }

    private static string PropertyList(
        string name,
        IReadOnlyList<string> command,
        string? account,
        IReadOnlyDictionary<string, string> variables,
        string folder
    )
    {
        var map = new XElement(
            "dict",
            Key("Label"),
            new XElement("string", Label(name)),
            Key("ProgramArguments"),
            new XElement("array", command.Select(w => new XElement("string", w))),
            Key("RunAtLoad"),
            new XElement("true"),
            Key("KeepAlive"),
            new XElement("dict", Key("SuccessfulExit"), new XElement("false")),
            Key("ThrottleInterval"),
            new XElement("integer", 10),
            // The runs have watchers of their own, and outlive a restart.
            Key("AbandonProcessGroup"),
            new XElement("true"),
            Key("ProcessType"),
            new XElement("string", "Background"),
            Key("StandardErrorPath"),
            new XElement("string", Path.Combine(folder, "service.err")),
            Key("StandardOutPath"),
            new XElement("string", "/dev/null")
        );
        if (variables.Count > 0)
        {
            map.Add(
                Key("EnvironmentVariables"),
                new XElement("dict", variables.SelectMany(v => new[] { Key(v.Key), new XElement("string", v.Value) }))
            );
        }

        if (account is not null)
        {
            map.Add(Key("UserName"), new XElement("string", account));
        }

        return
            new XDocument(
                new XDeclaration("1.0", "UTF-8", null),
                new XDocumentType(
                    "plist",
                    "-//Apple//DTD PLIST 1.0//EN",
                    "http://www.apple.com/DTDs/PropertyList-1.0.dtd",
                    null
                ),
                new XElement("plist", new XAttribute("version", "1.0"), map)
            )
                is var document
            ? document.Declaration + "\n" + document + "\n"
            : "";

        static XElement Key(string text) => new("key", text);
    }

    private static string Task(string about, IReadOnlyList<string> command, string? account, bool machineWide)
    {
        XNamespace ns = "http://schemas.microsoft.com/windows/2004/02/mit/task";

        // Built-in and managed service accounts have no password to store; others run with a stored one, or (S4U) without one where only this machine is used.
        var service = account is null
            ? false
            : account.EndsWith('$')
                || account.ToUpperInvariant()
                    is "SYSTEM"
                        or "LOCAL SERVICE"
                        or "NETWORK SERVICE"
                        or @"NT AUTHORITY\SYSTEM"
                        or @"NT AUTHORITY\LOCAL SERVICE"
                        or @"NT AUTHORITY\NETWORK SERVICE";
        var atStart = machineWide || account is not null;
        var user = account ?? (OperatingSystem.IsWindows() ? WindowsIdentity.GetCurrent().Name : Environment.UserName);
        return new XDeclaration("1.0", "UTF-16", null)
            + "\n"
            + new XElement(
                ns + "Task",
                new XAttribute("version", "1.2"),
                new XElement(
                    ns + "RegistrationInfo",
                    new XElement(ns + "Author", "WandbLaunch"),
                    new XElement(ns + "Description", about)
                ),
                new XElement(
                    ns + "Triggers",
                    atStart
                        ? new XElement(
                            ns + "BootTrigger",
                            new XElement(ns + "Enabled", true),
                            new XElement(ns + "Delay", "PT15S")
                        )
                        : new XElement(
                            ns + "LogonTrigger",
                            new XElement(ns + "Enabled", true),
                            new XElement(ns + "UserId", user)
                        )
                ),
                new XElement(
                    ns + "Principals",
                    new XElement(
                        ns + "Principal",
                        new XAttribute("id", "Author"),
                        new XElement(ns + "UserId", user),
                        service && !account!.EndsWith('$')
                            ? null
                            : new XElement(ns + "LogonType", atStart ? "Password" : "InteractiveToken"),
                        new XElement(ns + "RunLevel", "LeastPrivilege")
                    )
                ),
                new XElement(
                    ns + "Settings",
                    new XElement(ns + "MultipleInstancesPolicy", "IgnoreNew"),
                    new XElement(ns + "DisallowStartIfOnBatteries", false),
                    new XElement(ns + "StopIfGoingOnBatteries", false),
                    new XElement(ns + "AllowHardTerminate", true),
                    new XElement(ns + "StartWhenAvailable", true),
                    new XElement(ns + "AllowStartOnDemand", true),
                    new XElement(ns + "Enabled", true),
                    new XElement(ns + "Hidden", false),
                    new XElement(ns + "ExecutionTimeLimit", "PT0S"),
                    new XElement(ns + "Priority", 7),
                    new XElement(
                        ns + "RestartOnFailure",
                        new XElement(ns + "Interval", "PT1M"),
                        new XElement(ns + "Count", 255)
                    )
                ),
                new XElement(
                    ns + "Actions",
                    new XAttribute("Context", "Author"),
                    new XElement(
                        ns + "Exec",
                        new XElement(ns + "Command", command[0]),
                        new XElement(ns + "Arguments", string.Join(' ', command.Skip(1).Select(WindowsProcess.Quote)))
                    )
                )
            )
            + "\n";
    }

    private static JsonObject Masked(JsonObject source)
    {
        var map = (JsonObject)source.DeepClone();
        if (map.ContainsKey("webhook"))
        {
            map["webhook"] = Secrets.Masked;
        }

        foreach (
            var name in (map["environment_variables"] as JsonObject)
                ?.Select(v => v.Key)
                .Where(Secrets.IsSecretName)
                .ToList()
                ?? []
        )
        {
            map["environment_variables"]![name] = Secrets.Masked;
        }

        return (JsonObject)JsonNode.Parse(Secrets.Mask(map.ToJsonString()))!;
    }

    private static async Task<string?> CallAsync(IEnumerable<string[]> commands, CancellationToken token)
    {
        foreach (var words in commands)
        {
            try
            {
                var program = new ExternalProgram(words);
                var result = await program.RunAsync(token);
                if (!result.Succeeded)
                {
                    return $"{CommandLine.Show(words)}: {program.Tail(result.Error, 5)}";
                }
            }
            catch (LaunchException e)
            {
                return e.Message;
            }
        }

        return null;
    }

    private static async Task LetReadAsync(string path, string account, CancellationToken token)
    {
        if (OperatingSystem.IsWindows())
        {
            LetReadOnWindows(path, account);
        }
        else if (
            await CallAsync(
                [
                    ["chown", account, path],
                ],
                token
            ) is
            { } fault
        )
        {
            throw new LaunchException(
                "AccountInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"The agent's settings cannot be given to the account '{account}': {fault}",
                account
            );
        }
    }

    [SupportedOSPlatform("windows")]
    private static void LetReadOnWindows(string path, string account)
    {
        var file = new FileInfo(path);
        var security = file.GetAccessControl();
        security.AddAccessRule(
            new FileSystemAccessRule(new NTAccount(account), FileSystemRights.Read, AccessControlType.Allow)
        );
        file.SetAccessControl(security);
    }

    private static string UserId()
    {
        return OperatingSystem.IsWindows() ? "" : getuid().ToString(System.Globalization.CultureInfo.InvariantCulture);

        [System.Runtime.InteropServices.DllImport("libc")]
        static extern uint getuid();
    }
}

/// <summary>The Task Scheduler by its own interface: the password of an account is on no command line.</summary>
[SupportedOSPlatform("windows")]
internal static class WindowsTasks
{
    private const int CreateOrUpdate = 6;
    private const int LogonPassword = 1;
    private const int LogonInteractive = 3;
    private const int LogonService = 5;

    internal static void Register(string path, string xml, string? account, string? password)
    {
        var logon =
            account is null ? LogonInteractive
            : password is not null || account.EndsWith('$') ? LogonPassword
            : LogonService;
        var task = Call(
            Folder(),
            "RegisterTask",
            path,
            xml[(xml.IndexOf('\n', StringComparison.Ordinal) + 1)..],
            CreateOrUpdate,
            account,
            password,
            logon,
            null
        );
        Call(task!, "Run", new object?[] { null });
    }

    internal static void Delete(string path) => Call(Folder(), "DeleteTask", path, 0);

    internal static bool Exists(string path)
    {
        try
        {
            return Call(Folder(), "GetTask", path) is not null;
        }
        catch (LaunchException)
        {
            return false;
        }
    }

    private static object Folder()
    {
        var service = Activator.CreateInstance(Type.GetTypeFromProgID("Schedule.Service", true)!)!;
        Call(service, "Connect");
        return Call(service, "GetFolder", "\\")!;
    }

    private static object? Call(object target, string method, params object?[] arguments)
    {
        try
        {
            return target
                .GetType()
                .InvokeMember(
                    method,
                    System.Reflection.BindingFlags.InvokeMethod,
                    null,
                    target,
                    arguments,
                    System.Globalization.CultureInfo.InvariantCulture
                );
        }
        catch (System.Reflection.TargetInvocationException e)
        {
            throw new LaunchException(
                "TaskSchedulerFailed",
                LaunchErrorCategory.InvalidOperation,
                $"The Task Scheduler refused: {e.InnerException?.Message.Trim() ?? e.Message} (Does it need an elevated shell?)",
                target.ToString(),
                e
            );
        }
    }
}
