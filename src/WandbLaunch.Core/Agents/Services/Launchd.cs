using System.Xml.Linq;

namespace WandbLaunch.Agents;

/// <summary>Agents as property lists of launchd.</summary>
internal sealed class LaunchdService(ServicePlace place) : AgentService(place)
{
    private protected override AgentServiceKind Kind => AgentServiceKind.LaunchdPropertyList;

    private string Domain => Place.MachineWide ? "system" : "gui/" + UserId();

    public override string DefinitionPath(string name) =>
        (Place.MachineWide ? "/Library/LaunchDaemons" : Path.Combine(Place.Home, "Library", "LaunchAgents"))
        + $"/{Label(name)}.plist";

    private static string Label(string name) => "ai.wandb.launch.agent." + name;

    private protected override IReadOnlyList<string[]> Activation(string name) =>
        [
            ["launchctl", "bootstrap", Domain, DefinitionPath(name)],
        ];

    private protected override IReadOnlyList<string[]> Deactivation(string name) =>
        [
            ["launchctl", "bootout", Domain + "/" + Label(name)],
        ];

    private protected override string Content(AgentServiceRequest request, string about)
    {
        var folder = AgentFolder(request.Name);
        var map = new XElement(
            "dict",
            Key("Label"),
            new XElement("string", Label(request.Name)),
            Key("ProgramArguments"),
            new XElement("array", request.Command.Select(w => new XElement("string", w))),
            Key("RunAtLoad"),
            new XElement("true"),
            Key("KeepAlive"),
            new XElement("dict", Key("SuccessfulExit"), new XElement("false")),
            Key("ThrottleInterval"),
            new XElement("integer", 10),
            // The runs have supervisors or engines of their own, and outlive a restart.
            Key("AbandonProcessGroup"),
            new XElement("true"),
            Key("ProcessType"),
            new XElement("string", "Background"),
            Key("StandardErrorPath"),
            new XElement("string", Path.Combine(folder, "service.err")),
            Key("StandardOutPath"),
            new XElement("string", "/dev/null")
        );
        if (request.Variables.Count > 0)
        {
            map.Add(
                Key("EnvironmentVariables"),
                new XElement(
                    "dict",
                    request.Variables.SelectMany(v => new[] { Key(v.Key), new XElement("string", v.Value) })
                )
            );
        }

        if (request.Account is { } account)
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

    private static string UserId()
    {
        return OperatingSystem.IsWindows() ? "" : getuid().ToString(System.Globalization.CultureInfo.InvariantCulture);

        [System.Runtime.InteropServices.DllImport("libc")]
        static extern uint getuid();
    }
}
