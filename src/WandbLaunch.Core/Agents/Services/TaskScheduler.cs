using System.Security.Principal;
using System.Xml.Linq;
using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>Agents as tasks of the Windows Task Scheduler.</summary>
internal sealed class TaskSchedulerService(ServicePlace place) : AgentService(place)
{
    private const string HomeVariable = "WANDBLAUNCH_HOME";

    private protected override AgentServiceKind Kind => AgentServiceKind.ScheduledTask;

    public override string ConfigPath(string name) =>
        Place.MachineWide
            ? Path.Combine(
                Environment.GetFolderPath(Environment.SpecialFolder.CommonApplicationData),
                "WandbLaunch",
                name + ".yaml"
            )
            : base.ConfigPath(name);

    public override string DefinitionPath(string name) => $@"\WandbLaunch\{name}";

    public override bool Exists(string name) =>
        OperatingSystem.IsWindows() && TaskSchedulerInterface.Exists(DefinitionPath(name));

    public override AgentServiceDefinition Define(AgentServiceRequest request) =>
        base.Define(request) with
        {
            Activation = [$"register the task {DefinitionPath(request.Name)} and start it"],
            Deactivation = [$"delete the task {DefinitionPath(request.Name)}"],
        };

    private protected override Task<string?> RegisterAsync(
        AgentServiceDefinition definition,
        string? password,
        CancellationToken token
    )
    {
        if (OperatingSystem.IsWindows())
        {
            TaskSchedulerInterface.Register(
                definition.Path,
                definition.Content,
                definition.Account,
                password,
                AtStart(definition.Account)
            );
        }

        return Task.FromResult<string?>(null);
    }

    private protected override Task<string?> UnregisterAsync(AgentServiceDefinition definition, CancellationToken token)
    {
        if (OperatingSystem.IsWindows())
        {
            TaskSchedulerInterface.Delete(definition.Path);
        }

        return Task.FromResult<string?>(null);
    }

    private protected override string Content(AgentServiceRequest request, string about)
    {
        var account = request.Account;
        XNamespace ns = "http://schemas.microsoft.com/windows/2004/02/mit/task";

        var atStart = AtStart(account);
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
                        TaskLogon.Element(account, request.HasPassword, atStart) is { } logon
                            ? new XElement(ns + "LogonType", logon)
                            : null,
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
                    new XElement(ns + "RunOnlyIfNetworkAvailable", false),
                    new XElement(
                        ns + "IdleSettings",
                        new XElement(ns + "StopOnIdleEnd", false),
                        new XElement(ns + "RestartOnIdle", false)
                    ),
                    new XElement(ns + "AllowStartOnDemand", true),
                    new XElement(ns + "Enabled", true),
                    new XElement(ns + "Hidden", false),
                    new XElement(ns + "RunOnlyIfIdle", false),
                    new XElement(ns + "WakeToRun", false),
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
                        new XElement(ns + "Command", request.Command[0]),
                        new XElement(
                            ns + "Arguments",
                            string.Join(' ', Words(request).Skip(1).Select(WindowsProcess.Quote))
                        )
                    )
                )
            )
            + "\n";
    }

    private bool AtStart(string? account) => Place.MachineWide || account is not null;

    // A task has no variables of its own: the host takes the one that it needs as words. In pwsh the command sets it.
    private static IEnumerable<string> Words(AgentServiceRequest request) =>
        request.Command.Contains("agent") && request.Variables.TryGetValue(HomeVariable, out var home)
            ? [.. request.Command, "--home", home]
            : request.Command;
}
